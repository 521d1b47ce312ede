// SPDX-License-Identifier: Apache-2.0

// Package network gates applications and publishes their ports on a node.
package network

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"

	"sigs.k8s.io/knftables"
)

// ErrNoLink says that there is no gate: the namespace has lost its link to this node, or never had one.
var ErrNoLink = errors.New("network namespace has no link to this node")

// Publication leads a port of this node to an application.
type Publication struct {
	Application string
	Protocol    string // "tcp" or "udp"
	External    int    // on every address of this node
	Address     string // of the application's network namespace
	Internal    int
}

// Port is a port of this node.
type Port struct {
	Protocol string // "tcp" or "udp"
	Number   int
}

// Network is this node's part of the cluster network. The bridge and the namespaces are the container runtime's;
// the gates, the published ports and the rules that let them through are made here.
type Network struct {
	log    *slog.Logger
	bridge string

	mu    sync.Mutex                               // one change of rules at a time
	rules map[knftables.Family]knftables.Interface // of the tables that lead; none before first use
	shut  knftables.Interface                      // of table "bridge flocker"; nil before first use, as the next
	any   knftables.Interface                      // for one transaction in several tables
	// last is what was published last by this process; nil when that is not known.
	last []Publication
	// telling ends when the clients of applications that went away are told.
	telling sync.WaitGroup
	// standIn answers for those who are refused; nil while nobody is. standing ends when it, and those before it, have.
	standIn  *standIn
	standing sync.WaitGroup
	// member says that this process has joined; subnet6 is then the fabric's.
	member  bool
	subnet6 netip.Prefix

	owners socketOwners // of the ports in use
}

// New prepares to work on the bridge "flocker0".
func New(log *slog.Logger) *Network { return NewOn("flocker0", log) }

// NewOn prepares to work on another bridge.
func NewOn(bridge string, log *slog.Logger) *Network {
	return &Network{log: log, bridge: bridge, rules: map[knftables.Family]knftables.Interface{}}
}

// Ensure makes the rules that do not depend on any application, where they are not there yet. The bridge must exist.
func (n *Network) Ensure(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	joined, err := findTunnel()
	if err != nil {
		return err
	}
	if err := n.ensureLeading(ctx, joined != nil); err != nil {
		return err
	}
	if err := n.ensureBridge(); err != nil {
		return err
	}
	return n.ensureForward(ctx)
}

// Remove takes away all that Ensure, Join, Live and Publish made; the bridge stays, it is the container runtime's.
func (n *Network) Remove(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = nil
	n.endStandIn()
	n.telling.Wait()
	n.standing.Wait()
	// The way between nodes goes first: what keeps applications unheard outlives it.
	if err := errors.Join(removeTunnel(), n.removeService()); err != nil {
		return err
	}
	stacks, err := n.leading(ctx)
	if err != nil {
		return err
	}
	families := []knftables.Family{knftables.BridgeFamily}
	for _, s := range stacks {
		// Before the tables, by which a second try knows of it.
		if err := errors.Join(n.removeForward(ctx, s), n.removeHolds(s)); err != nil {
			return err
		}
		families = append(families, s.family)
	}
	if err := errors.Join(n.removeTables(ctx, families...), n.restore()); err != nil {
		return err
	}
	n.member = false
	return nil
}
