// SPDX-License-Identifier: Apache-2.0

package networktest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/flocker-project/flocker/network"
)

// Confinement lets applications be heard only as long as somebody says so.
type Confinement interface {
	Confine(ctx context.Context, addrs []netip.Addr) error
	Confined(ctx context.Context) ([]netip.Addr, error)
	Ask(ctx context.Context, limit time.Duration) error
	Allow(ctx context.Context, addrs []netip.Addr, limit time.Duration) error
}

// short is a limit that a test waits for.
const short = 200 * time.Millisecond

// confined lets the application of node 0 be heard there, and confines it.
func (c Cluster) confined(t *testing.T) (n ClusterNode, only []netip.Addr) {
	t.Helper()
	n, only = c.Nodes[0], []netip.Addr{c.Address}
	if err := errors.Join(n.Live(t.Context(), only), n.Confine(t.Context(), only)); err != nil {
		t.Fatal(err)
	}
	return n, only
}

// allowed asks, and lets these be heard at once.
func (n ClusterNode) allowed(t *testing.T, limit time.Duration, addrs ...netip.Addr) {
	t.Helper()
	if err := errors.Join(n.Ask(t.Context(), time.Hour), n.Allow(t.Context(), addrs, limit)); err != nil {
		t.Fatal(err)
	}
}

func confinedNeedWord(t *testing.T, c Cluster) {
	n, only := c.confined(t)
	c.answered(t, -1)
	n.allowed(t, time.Hour, c.Address.Next(), c.Address)
	c.answered(t, 0)
	n.allowed(t, time.Hour, c.Address.Next())
	c.answered(t, -1)
	n.allowed(t, time.Hour)
	c.answered(t, -1)
	n.allowed(t, time.Hour, c.Address)
	c.answered(t, 0)
	for _, want := range [][]netip.Addr{only, {c.Address, c.Address.Next()}, {c.Address.Next()}, nil} {
		if err := n.Confine(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if all, err := n.Confined(t.Context()); err != nil || !slices.Equal(all, want) {
			t.Errorf("Confined() = %v, %v; want %v", all, err, want)
		}
		c.answered(t, 0)
	}
}

func wordEnds(t *testing.T, c Cluster) {
	n, _ := c.confined(t)
	n.allowed(t, short, c.Address)
	c.until(t, -1)
	n.allowed(t, short, c.Address)
	n.allowed(t, time.Hour, c.Address) // a longer one replaces it
	c.pass(t, 2*short)
	c.answered(t, 0)
}

func lateAnswer(t *testing.T, c Cluster) {
	n, only := c.confined(t)
	late := func(when string) {
		t.Helper()
		if err := n.Allow(t.Context(), only, time.Hour); !errors.Is(err, network.ErrLate) {
			t.Errorf("Allow() %s = %v; want ErrLate", when, err)
		}
		c.answered(t, -1)
	}
	late("without a question")
	if err := n.Ask(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	c.pass(t, 2*short)
	late("after the question has ended")
	n.allowed(t, short, c.Address)
	late = func(when string) {
		t.Helper()
		if err := n.Allow(t.Context(), only, time.Hour); !errors.Is(err, network.ErrLate) {
			t.Errorf("Allow() %s = %v; want ErrLate", when, err)
		}
	}
	late("a second time")
	c.until(t, -1) // and it has prolonged nothing
	if err := errors.Join(n.Ask(t.Context(), short), n.Ask(t.Context(), time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.pass(t, 2*short)
	if err := n.Allow(t.Context(), only, time.Hour); err != nil {
		t.Errorf("Allow() of the second question = %v", err)
	}
	c.answered(t, 0)
}

func othersNeedNone(t *testing.T, c Cluster) {
	n := c.Nodes[0]
	if err := errors.Join(n.Live(t.Context(), []netip.Addr{c.Address}), n.Confine(t.Context(), []netip.Addr{c.Address.Next()})); err != nil {
		t.Fatal(err)
	}
	c.answered(t, 0)
	for _, err := range []error{n.Ask(t.Context(), 0), n.Allow(t.Context(), nil, 0)} {
		if err == nil {
			t.Error("a limit of nothing is not refused")
		}
	}
}

// until waits for the application of that node to answer, through every node; -1 is none.
func (c Cluster) until(t *testing.T, want int) {
	t.Helper()
	for begun, by := time.Now(), want+1; by != want; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var err error
		if by, err = c.Ask(ctx, 0, 7001); err != nil {
			by = -1
		}
		cancel()
		if by != want && time.Since(begun) > 20*patience {
			t.Fatalf("the application of node %d answers; want %d", by, want)
		}
	}
	c.answered(t, want)
}

// pass lets time go by.
func (c Cluster) pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
