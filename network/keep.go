// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// Keep keeps the connections that come through this node's ports to the application with this address, while the container runtime
// does something to a container with it: Docker then makes the kernel forget them all, wherever the application lives. Its error is
// that of do. What cannot be kept is logged: those clients hear of the application's end when they speak.
func (n *Network) Keep(ctx context.Context, addr netip.Addr, do func() error) error {
	if !addr.Is4() {
		return fmt.Errorf("keep connections to %q: not an IPv4 address", addr)
	}
	before, err := n.connectionsTo(addr)
	if err != nil {
		n.log.Warn("connections to an application may be lost", "address", addr, "error", err)
	}
	failed := do()
	if err := n.keep(context.WithoutCancel(ctx), addr, before); err != nil {
		n.log.Warn("connections to an application are lost", "address", addr, "error", err)
	}
	return failed
}

const (
	keptSet = "kept" // of applications: what they say on connections that this node does not know is not answered
	// keptFor is for how long at most. The kernel ends it without us.
	keptFor = 30 * time.Second
)

func (s stack) kept() *knftables.Set {
	return &knftables.Set{Name: keptSet, Type: s.key, Flags: []knftables.SetFlag{knftables.TimeoutFlag}}
}

// keptChains drop what an application says on a connection that is forgotten for the moment: the node would reset it. It says it again.
func (s stack) keptChains(bridge string) []chain {
	return []chain{{name: "kept", kind: knftables.FilterType, hook: knftables.InputHook, priority: "-10", rules: []string{
		fmt.Sprintf("iifname %q %s saddr @%s tcp flags & (syn|ack) != syn ct state != { established, related } drop", bridge, s.family, keptSet),
	}}}
}

// changeKept changes the set. Where no table is nothing is led from here.
func changeKept(stacks []stack, addr netip.Addr, away bool) error {
	kept := addressElements(stacks, keptSet, []netip.Addr{addr}, false)
	for i := range kept {
		kept[i].limit = keptFor
	}
	if away { // only what is there can be taken away
		kept = append(kept, addressElements(stacks, keptSet, []netip.Addr{addr}, true)...)
	}
	if err := ignore(changeElements(kept), unix.ENOENT); err != nil {
		return fmt.Errorf("change who is not answered: %w", err)
	}
	return nil
}

// known are connections of one family to one application.
type known struct {
	stack
	flows []flow
}

// connectionsTo are those that come through this node's ports and are answered through it, in all families.
func (n *Network) connectionsTo(addr netip.Addr) ([]known, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	stacks, err := n.stacks()
	if err != nil {
		return nil, err
	}
	// Before the look: of what is looked up then all is known.
	if err := changeKept(stacks, addr, false); err != nil {
		return nil, err
	}
	table, err := openConntrack()
	if err != nil {
		return nil, err
	}
	defer table.Close()
	var all []known
	for _, s := range stacks {
		flows, err := steady(func() ([]flow, error) { return table.masqueraded(s.of(addr)) })
		// A busy table may never hold still; then new connections were missed.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list connections to %s: %w", s.of(addr), err)
		}
		all = append(all, known{s, flows})
	}
	return all, nil
}

// keep makes the kernel know those again that it has forgotten. The lock keeps ports from going away meanwhile: connections through one
// that has gone are to be forgotten.
func (n *Network) keep(ctx context.Context, addr netip.Addr, before []known) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var failed []error
	for _, k := range before {
		if err := n.putBack(ctx, k); err != nil {
			failed = append(failed, err)
		}
	}
	stacks, err := n.stacks()
	if err == nil {
		err = changeKept(stacks, addr, true)
	}
	return errors.Join(append(failed, err)...)
}

func (n *Network) putBack(ctx context.Context, k known) error {
	if len(k.flows) == 0 {
		return nil
	}
	ports, err := n.published(ctx, k.stack)
	if err != nil {
		return err
	}
	table, err := openConntrack()
	if err != nil {
		return err
	}
	defer table.Close()
	lost := 0
	for _, f := range k.flows {
		if !f.through(ports) {
			continue
		}
		// One that has spoken meanwhile is known again, and so may be another from the same port.
		if failed := ignore(table.create(f), unix.EEXIST); failed != nil {
			lost, err = lost+1, failed
		}
	}
	if err != nil {
		return fmt.Errorf("%d of %d connections: %w", lost, len(k.flows), err)
	}
	return nil
}
