// SPDX-License-Identifier: Apache-2.0

// Package networktest is the contract of a node's network as tests, for the real one and the one in memory.
package networktest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/network"
)

// Gates are the part of a network that concerns one namespace.
type Gates interface {
	SetGate(ctx context.Context, namespace string, open bool) error
	GateOpen(ctx context.Context, namespace string) (bool, error)
	DialInside(ctx context.Context, namespace string, port int) error
}

// Ports are the part of a network that concerns the node.
type Ports interface {
	Ensure(ctx context.Context) error
	Publish(ctx context.Context, all []network.Publication) error
	Published(ctx context.Context) ([]network.Publication, error)
	Listening(ctx context.Context) (map[network.Port]string, error)
	Remove(ctx context.Context) error
}

// Subject is a network under test, with nothing published and an application that listens on Port.
type Subject struct {
	Gates     Gates
	Ports     Ports
	Namespace string
	Address   string
	Port      int
	// Reach connects to a TCP port of the node from elsewhere, and waits for an answer of the application.
	Reach func(ctx context.Context, port int) error
}

// patience is how long an answer may take on this machine; reachable things answer far sooner.
const patience = 500 * time.Millisecond

// Run checks every promise with a subject of its own.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	promises := map[string]func(t *testing.T, s Subject){
		"published ports answer":    publishedAnswers,
		"unpublished ports do not":  unpublishedDoesNot,
		"publish is complete":       publishIsComplete,
		"publish again is success":  publishAgain,
		"bad publications":          badPublications,
		"a closed gate lets none":   closedGate,
		"no such namespace":         noNamespace,
		"nothing listens inside":    nothingInside,
		"remove leaves no port":     removeLeavesNothing,
		"ensure keeps publications": ensureKeeps,
	}
	for name, promise := range promises {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if err := s.Ports.Ensure(t.Context()); err != nil {
				t.Fatalf("Ensure() = %v", err)
			}
			promise(t, s)
		})
	}
}

func (s Subject) publication(external int) network.Publication {
	return network.Publication{Application: "app", Protocol: "tcp", External: external, Address: s.Address, Internal: s.Port}
}

func (s Subject) publish(t *testing.T, external ...int) []network.Publication {
	t.Helper()
	var all []network.Publication
	for _, port := range external {
		all = append(all, s.publication(port))
	}
	if err := s.Ports.Publish(t.Context(), all); err != nil {
		t.Fatalf("Publish(%v) = %v", external, err)
	}
	return all
}

func (s Subject) reach(t *testing.T, port int) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Reach(ctx, port)
}

func publishedAnswers(t *testing.T, s Subject) {
	s.publish(t, 7001, 7002)
	for _, port := range []int{7001, 7002} {
		if err := s.reach(t, port); err != nil {
			t.Errorf("reach port %d = %v", port, err)
		}
	}
	if err := s.reach(t, 7003); err == nil {
		t.Error("port 7003 answers and is not published")
	}
}

func unpublishedDoesNot(t *testing.T, s Subject) {
	s.publish(t, 7001, 7002)
	s.publish(t, 7002)
	if err := s.reach(t, 7001); err == nil {
		t.Error("port 7001 answers and is no longer published")
	}
	if err := s.reach(t, 7002); err != nil {
		t.Errorf("reach port 7002 = %v", err)
	}
}

func publishIsComplete(t *testing.T, s Subject) {
	udp := network.Publication{Application: "other-app.2", Protocol: "udp", External: 7001, Address: s.Address, Internal: 53}
	want := append(s.publish(t, 7001, 7002), udp)
	if err := s.Ports.Publish(t.Context(), want); err != nil {
		t.Fatalf("Publish() = %v", err)
	}
	published, err := s.Ports.Published(t.Context())
	if err != nil {
		t.Fatalf("Published() = %v", err)
	}
	if diff := cmp.Diff(want, published); diff != "" {
		t.Errorf("Published():\n%s", diff)
	}
}

func publishAgain(t *testing.T, s Subject) {
	for range 2 {
		s.publish(t, 7001)
	}
	if err := s.reach(t, 7001); err != nil {
		t.Errorf("reach port 7001 = %v", err)
	}
}

func badPublications(t *testing.T, s Subject) {
	good := s.publish(t, 7001)
	for _, spoil := range []func(*network.Publication){
		func(p *network.Publication) { p.Protocol = "sctp" },
		func(p *network.Publication) { p.Address = "172.30.0.2; drop" },
		func(p *network.Publication) { p.Address = "::1" },
		func(p *network.Publication) { p.External = 0 },
		func(p *network.Publication) { p.Internal = 65536 },
	} {
		bad := s.publication(7002)
		spoil(&bad)
		if err := s.Ports.Publish(t.Context(), append(slices.Clone(good), bad)); err == nil {
			t.Errorf("Publish(%+v) = nil; want an error", bad)
		}
	}
	if published, err := s.Ports.Published(t.Context()); err != nil || !cmp.Equal(good, published) {
		t.Errorf("after refused publications Published() = %+v, %v; want %+v", published, err, good)
	}
}

func closedGate(t *testing.T, s Subject) {
	s.publish(t, 7001)
	for _, open := range []bool{false, false, true, true} {
		if err := s.Gates.SetGate(t.Context(), s.Namespace, open); err != nil {
			t.Fatalf("SetGate(%v) = %v", open, err)
		}
		if is, err := s.Gates.GateOpen(t.Context(), s.Namespace); err != nil || is != open {
			t.Errorf("GateOpen() = %v, %v; want %v", is, err, open)
		}
		if err := s.reach(t, 7001); (err == nil) != open {
			t.Errorf("with the gate open = %v, reach = %v", open, err)
		}
		if err := s.Gates.DialInside(t.Context(), s.Namespace, s.Port); err != nil {
			t.Errorf("with the gate open = %v, DialInside() = %v", open, err)
		}
	}
}

func noNamespace(t *testing.T, s Subject) {
	if err := s.Gates.SetGate(t.Context(), "", false); err == nil {
		t.Error("SetGate(no namespace) = nil; want an error")
	}
	if _, err := s.Gates.GateOpen(t.Context(), ""); err == nil {
		t.Error("GateOpen(no namespace) = nil; want an error")
	}
}

func nothingInside(t *testing.T, s Subject) {
	if err := s.Gates.DialInside(t.Context(), s.Namespace, s.Port+1); err == nil {
		t.Error("DialInside() where nothing listens = nil; want an error")
	}
}

func removeLeavesNothing(t *testing.T, s Subject) {
	s.publish(t, 7001)
	for range 2 {
		if err := s.Ports.Remove(t.Context()); err != nil {
			t.Fatalf("Remove() = %v", err)
		}
	}
	if published, err := s.Ports.Published(t.Context()); err != nil || len(published) > 0 {
		t.Errorf("Published() = %v, %v; want none", published, err)
	}
	if err := s.reach(t, 7001); err == nil {
		t.Error("port 7001 answers after Remove()")
	}
}

func ensureKeeps(t *testing.T, s Subject) {
	want := s.publish(t, 7001)
	if err := s.Ports.Ensure(t.Context()); err != nil {
		t.Fatalf("Ensure() = %v", err)
	}
	if published, err := s.Ports.Published(t.Context()); err != nil || !cmp.Equal(want, published) {
		t.Errorf("Published() = %v, %v; want %v", published, err, want)
	}
}
