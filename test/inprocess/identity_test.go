// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
	"github.com/flocker-project/flocker/pki"
)

// as is the way to the agents' interface of the control service with some certificate.
func (w *world) as(creds *pki.Credentials) *api.AgentClient {
	c := api.NewAgentClient([]string{w.service.agents}, pki.ClientTLS(creds, pki.ExpectControl()))
	w.t.Cleanup(c.Close)
	return c
}

// A node speaks for itself only; whoever tries otherwise is refused, and that is logged once.
func TestNodeThatSpeaksForAnotherIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	w.rest()
	id := cluster.NodeID(uuid.NewString())
	liar := w.as(w.credentials(w.authority.IssueNode(id)))
	session, err := liar.OpenSession(t.Context(), api.SessionRequest{
		Name: "liar", Address: "127.0.0.1", AgentAddress: "127.0.0.1:1",
		BootID: uuid.NewString(), Version: "test", Protocol: cluster.ProtocolVersion, Process: uuid.NewString(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		err := liar.Report(t.Context(), api.ObservedReport{Session: session.ID, Observed: cluster.Observed{Node: source.id}})
		if !errors.Is(err, cluster.ErrForbidden) {
			t.Errorf("a report for another node: %v; want ErrForbidden", err)
		}
	}
	if n := w.log.count("level=WARN", "refused", string(id), "reports for node"); n != 1 {
		t.Errorf("it is logged %d times; want once", n)
	}
	answers := make(chan error, 6)
	source.at(migrate.BeforeHandOver, func() {
		moves, err := w.user.Moves(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		for _, action := range []api.MoveAction{api.ActionAbort, api.ActionHandOver, api.ActionCommit, api.ActionTakeBack, api.ActionClean} {
			_, err := liar.Transition(t.Context(), moves[0].ID, api.MoveTransition{
				Session: session.ID, Action: action, Attempt: moves[0].Attempt, Revision: moves[0].Revision,
			})
			answers <- err
		}
		_, err = w.as(target.creds).Transition(t.Context(), moves[0].ID, api.MoveTransition{Action: api.ActionAbort, Attempt: moves[0].Attempt})
		answers <- err
	})
	m := w.wait(w.ask("db", target))
	if m.Phase != cluster.MoveCleaned {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	for range cap(answers) {
		if err := <-answers; !errors.Is(err, cluster.ErrForbidden) {
			t.Errorf("a transition by a node that has no right to it: %v; want ErrForbidden", err)
		}
	}
}

// Certificates of another cluster, and expired ones, are refused by control and by agents, each logged once.
func TestWrongCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	other, err := pki.CreateAuthority("another cluster")
	if err != nil {
		t.Fatal(err)
	}
	w.authority.Lifetime = time.Nanosecond
	expired, err := w.authority.IssueNode(n.id)
	w.authority.Lifetime = 0
	foreign, foreignErr := other.IssueNode(n.id)
	if err = errors.Join(err, foreignErr); err != nil {
		t.Fatal(err)
	}
	for word, issued := range map[string]pki.Issued{"expired": expired, "not of this cluster's authority": foreign} {
		cert, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		config := pki.ClientTLS(n.creds, pki.ExpectControl())
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		c := api.NewAgentClient([]string{w.service.agents}, config)
		defer c.Close()
		toNode := api.NewPeerClient(func(id cluster.NodeID) *tls.Config {
			config := config.Clone()
			config.ServerName, config.VerifyConnection = pki.ExpectNode(id).String(), nil
			return config
		})
		defer toNode.Close()
		for range 3 {
			r := api.SessionRequest{
				Name: "x", Address: "127.0.0.1", AgentAddress: "127.0.0.1:1", BootID: n.boot, Version: "test", Protocol: 1, Process: uuid.NewString(),
			}
			if _, err := c.OpenSession(t.Context(), r); err == nil {
				t.Errorf("%s: control let it in", word)
			}
			self := cluster.Node{ID: n.id, AgentAddress: n.link.address()}
			if err := toNode.Discard(t.Context(), self, cluster.Move{Source: n.id, Target: n.id}); err == nil {
				t.Errorf("%s: an agent let it in", word)
			}
		}
		for _, process := range []string{"control", n.name} {
			if times := w.log.count("level=WARN", "refused", "process="+process, word); times != 1 {
				t.Errorf("%s: %s logged it %d times; want once", word, process, times)
			}
		}
	}
	w.rest()
}
