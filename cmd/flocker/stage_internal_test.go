// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/pki"
)

// Images that tell the actors how an application behaves.
const (
	brokenImage = "broken" // never gets ready on the target of a move
	slowImage   = "slow"   // its copy goes on until it is cancelled
)

// actor plays a node's agent: it reports that everything is as it should be, and takes moves from phase to phase.
type actor struct {
	id      cluster.NodeID
	boot    string
	agent   *api.AgentClient
	user    *api.Client
	session api.Session
}

// startStage starts a real control service and two actors, and tells the story's commands where it is.
func startStage(t *testing.T, env *testscript.Env) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	env.Defer(func() { cancel(); running.Wait() })
	authority, err := pki.CreateAuthority("stage")
	if err != nil {
		return err
	}
	users, agents, err := serveControl(ctx, t, authority, filepath.Join(env.WorkDir, ".control"), &running)
	if err != nil {
		return err
	}
	certs := filepath.Join(env.WorkDir, ".certs")
	creds, err := writeUser(authority, certs)
	if err != nil {
		return err
	}
	env.Setenv(controlVariable, users)
	env.Setenv(certsVariable, certs)
	for _, name := range []string{"node1", "node2"} {
		a, err := newActor(ctx, authority, name, users, agents, creds)
		if err != nil {
			return err
		}
		running.Go(func() {
			defer a.agent.Close()
			defer a.user.Close()
			if err := a.play(ctx); ctx.Err() == nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	return nil
}

func serveControl(ctx context.Context, t *testing.T, authority *pki.Authority, dir string, running *sync.WaitGroup) (users, agents string, err error) {
	issued, err := authority.IssueControl([]string{"127.0.0.1"})
	if err != nil {
		return "", "", err
	}
	creds, err := pki.NewCredentials(authority.CertificatePEM(), issued)
	if err != nil {
		return "", "", err
	}
	var lc net.ListenConfig
	one, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	other, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", errors.Join(err, one.Close())
	}
	log, ready := slog.New(slog.DiscardHandler), make(chan struct{})
	server := control.Server{
		Store: store.Options{Dir: dir, Log: log}, Credentials: creds, Authority: authority,
		Users: one, Agents: other, Version: "test", Log: log, Ready: func(*control.Service) { close(ready) },
	}
	ended := make(chan error, 1)
	running.Go(func() {
		err := server.Run(ctx)
		ended <- err
		if err != nil && ctx.Err() == nil {
			t.Errorf("control: %v", err)
		}
	})
	select {
	case <-ready:
		return one.Addr().String(), other.Addr().String(), nil
	case err := <-ended:
		return "", "", fmt.Errorf("the control service ended: %w", err)
	}
}

func writeUser(authority *pki.Authority, dir string) (*pki.Credentials, error) {
	issued, err := authority.IssueUser("alice", pki.RoleAdmin)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(pki.FilesIn(dir, pki.UserName).CA, authority.CertificatePEM(), 0o600); err != nil {
		return nil, err
	}
	if err := issued.Write(dir, pki.UserName); err != nil {
		return nil, err
	}
	return pki.LoadCredentials(dir, pki.UserName)
}

func newActor(ctx context.Context, authority *pki.Authority, name, users, agents string, user *pki.Credentials) (*actor, error) {
	a := &actor{id: cluster.NodeID(uuid.NewString()), boot: uuid.NewString()}
	issued, err := authority.IssueNode(a.id)
	if err != nil {
		return nil, err
	}
	creds, err := pki.NewCredentials(authority.CertificatePEM(), issued)
	if err != nil {
		return nil, err
	}
	a.agent = api.NewAgentClient([]string{agents}, pki.ClientTLS(creds, pki.ExpectControl()))
	a.user = api.NewClient([]string{users}, pki.ClientTLS(user, pki.ExpectControl()))
	a.session, err = a.agent.OpenSession(ctx, api.SessionRequest{
		Name: name, Address: "127.0.0.1", AgentAddress: "127.0.0.1:1", BootID: a.boot, Version: "test", Protocol: cluster.ProtocolVersion, Process: name,
	})
	return a, err
}

// play acts each time anything has changed.
func (a *actor) play(ctx context.Context) error {
	return a.agent.Watch(ctx, a.session.ID, 0, func(api.WatchEvent) error { return a.act(ctx) })
}

func (a *actor) act(ctx context.Context) error {
	s, err := a.user.Status(ctx)
	if err != nil {
		return err
	}
	o := cluster.Observed{
		Node: a.id, BootID: a.boot, Storage: cluster.Storage{
			Backend: "mem", Free: 1 << 30, Total: 2 << 30,
			Capabilities: cluster.Capabilities{Replicates: true, Snapshots: true, Reverts: true, Resizes: true},
			Profiles:     []cluster.Profile{{Name: "bronze"}, {Name: "gold", Options: map[string]string{"copies": "2"}}},
		},
		Further: map[string]cluster.Storage{"store": {Backend: "store", Capabilities: cluster.Capabilities{Attaches: true}, Profiles: []cluster.Profile{{Name: "fast"}}}},
		Copies:  map[cluster.DatasetID]cluster.Copy{}, Containers: map[string]cluster.Container{},
	}
	epochs, images := map[cluster.DatasetID]cluster.Epoch{}, map[string]string{}
	for _, d := range s.Datasets {
		epochs[d.ID] = d.Epoch
		if d.Owner == a.id && !d.Deleted {
			c := cluster.Copy{Dataset: d.ID, Backend: d.Backend, Head: true, Epoch: d.Epoch, Mounted: "/flocker/" + string(d.ID), Used: 5 << 20}
			if c.Snapshots, err = a.keep(ctx, d); err != nil {
				return err
			}
			o.Copies[d.ID] = c
		}
	}
	for _, p := range s.Applications {
		images[p.Name] = p.Image
		if p.Node == a.id && !p.Deleted {
			o.Containers[p.Name] = cluster.Container{Application: p.Name, ID: "c0ffee", State: cluster.ContainerRunning, Ready: true, Spec: p.SpecHash()}
		}
	}
	if err := a.agent.Report(ctx, api.ObservedReport{Session: a.session.ID, Observed: o}); err != nil {
		return err
	}
	for _, m := range s.Moves {
		image := ""
		if len(m.Applications) > 0 {
			image = images[m.Applications[0]]
		}
		if err := a.advance(ctx, m, epochs, image); err != nil && !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
	return nil
}

// keep takes the snapshots that were asked for, and returns those that there are.
func (a *actor) keep(ctx context.Context, d api.DatasetInfo) ([]cluster.Snapshot, error) {
	report, there := api.SnapshotReport{Session: a.session.ID}, []cluster.Snapshot{}
	for i, k := range d.Snapshots {
		switch {
		case k.Removed:
		case k.Taken != nil:
			there = append(there, *k.Taken)
		default:
			s := cluster.Snapshot{Name: string(k.ID), ID: string(k.ID), Epoch: d.Epoch, Serial: uint64(i), Created: time.Now(), Used: 1 << 20}
			there, report.Taken = append(there, s), append(report.Taken, api.TakenSnapshot{Dataset: d.ID, ID: k.ID, Snapshot: s})
		}
	}
	if d.Rollback != nil {
		report.RolledBack = append(report.RolledBack, api.RolledBack{Dataset: d.ID, Kept: d.Rollback.Kept})
	}
	if len(report.Taken)+len(report.RolledBack) == 0 {
		return there, nil
	}
	_, err := a.agent.ReportSnapshots(ctx, report)
	return there, err
}

// advance takes a move one phase on. A conflict means that the status was old; the next change tells.
func (a *actor) advance(ctx context.Context, m api.MoveInfo, epochs map[cluster.DatasetID]cluster.Epoch, image string) error {
	t := api.MoveTransition{Session: a.session.ID, Attempt: m.Attempt, Revision: m.Revision}
	switch {
	case a.id == m.Target && m.Phase == cluster.MoveHandedOver:
		t.Action = api.ActionCommit
		if image == brokenImage {
			t.Action, t.Reason = api.ActionTakeBack, "the container exited with code 1: no such config"
		}
	case a.id != m.Source || m.Phase == cluster.MoveHandedOver:
		return nil
	case m.CancelRequested && m.Phase.BeforeHandOver():
		t.Action = api.ActionAbort
	case m.Phase == cluster.MovePlanned:
		t.Action, t.Phase = api.ActionPhase, cluster.MovePreparing
	case m.Phase == cluster.MovePreparing:
		t.Action, t.Phase = api.ActionPhase, cluster.MoveCopying
	case m.Phase == cluster.MoveCopying:
		if m.Progress == nil {
			return a.agent.Progress(ctx, cluster.MoveProgress{Move: m.ID, Step: "copy round 1", Round: 1, Done: 1 << 20, Total: 4 << 20, Rate: 1 << 20})
		}
		if image == slowImage {
			return nil
		}
		t.Action, t.Phase = api.ActionPhase, cluster.MoveCutting
	case m.Phase == cluster.MoveCutting:
		t.Action, t.Released = api.ActionHandOver, map[cluster.DatasetID]cluster.Epoch{}
		for _, id := range m.Datasets {
			t.Released[id] = epochs[id]
		}
	case m.Phase == cluster.MoveCommitted:
		t.Action, t.Report = api.ActionClean, measured(m)
	}
	_, err := a.agent.Transition(ctx, m.ID, t)
	return err
}

func measured(m api.MoveInfo) *cluster.MoveReport {
	const ms = cluster.Duration(1e6)
	return &cluster.MoveReport{
		Phases: []cluster.PhaseTime{
			{Name: "copy 1", Start: 20 * ms, Took: 4000 * ms, Bytes: 4 << 20, Node: m.Source},
			{Name: "stop", Start: 4020 * ms, Took: 200 * ms, Node: m.Source, InGap: true},
			{Name: "start", Start: 4220 * ms, Took: 300 * ms, Node: m.Target, InGap: true},
		},
		Bytes: 4 << 20, Rounds: 1, Gap: 512 * ms, PredictedGap: 600 * ms, Converged: true,
	}
}
