// SPDX-License-Identifier: Apache-2.0

// Package mem is a node's network in memory, with the truth about it for tests.
package mem

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/network"
)

// Config are the tests' hooks; each may be nil.
type Config struct {
	// Dial says whether something accepts connections to the port within the namespace; without it nothing does.
	Dial func(namespace string, port int) error
	// Fault makes a call fail, by the method's name.
	Fault func(method string) error
}

// ErrRefused is what a connection to a port where nothing listens gets.
var ErrRefused = errors.New("connection refused")

// Network has the methods of network.Network. Its state is that of a kernel: it outlives an agent and ends with Reboot.
type Network struct {
	config Config

	mu        sync.Mutex
	closed    map[string]bool
	published []network.Publication
	listening map[network.Port]string
	fabric    network.Fabric // the zero one while it has not joined
	live      map[netip.Addr]bool
	held      map[netip.Addr]bool
	terms     terms
	pinned    map[netip.Addr]netip.Addr
}

// New is a node's network after boot.
func New(config Config) *Network {
	n := &Network{config: config}
	n.Reboot()
	return n
}

// Ensure has nothing to make.
func (n *Network) Ensure(context.Context) error { return n.fault("Ensure") }

// SetGate opens or closes a namespace's gate; a gate that was never set is open.
func (n *Network) SetGate(_ context.Context, namespace string, open bool) error {
	if err := n.fault("SetGate"); err != nil {
		return err
	}
	if namespace == "" {
		return fmt.Errorf("gate of no namespace: %w", network.ErrNoLink)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed[namespace] = !open
	return nil
}

// GateOpen says whether a namespace's gate is open.
func (n *Network) GateOpen(_ context.Context, namespace string) (bool, error) {
	if err := n.fault("GateOpen"); err != nil {
		return false, err
	}
	if namespace == "" {
		return false, fmt.Errorf("gate of no namespace: %w", network.ErrNoLink)
	}
	return n.Gate(namespace), nil
}

// Gate is the truth about a gate.
func (n *Network) Gate(namespace string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.closed[namespace]
}

// Publish makes the published ports exactly these.
func (n *Network) Publish(_ context.Context, wanted []network.Publication) error {
	if err := n.fault("Publish"); err != nil {
		return err
	}
	for _, p := range wanted {
		if err := p.Check(); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.published = slices.SortedFunc(slices.Values(wanted), network.Publication.Compare)
	return nil
}

// Published returns the published ports.
func (n *Network) Published(context.Context) ([]network.Publication, error) {
	if err := n.fault("Published"); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.published), nil
}

// Leads is the truth about a port: the publication that it is led by.
func (n *Network) Leads(port network.Port) (network.Publication, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.published {
		if p.Protocol == port.Protocol && p.External == port.Number {
			return p, true
		}
	}
	return network.Publication{}, false
}

// Listening returns what Listen was told.
func (n *Network) Listening(context.Context) (map[network.Port]string, error) {
	if err := n.fault("Listening"); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.listening), nil
}

// Listen makes a process of the node use a port; nobody uses it any more where who is empty.
func (n *Network) Listen(port network.Port, who string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listening[port] = who
	if who == "" {
		delete(n.listening, port)
	}
}

// DialInside asks the hook.
func (n *Network) DialInside(ctx context.Context, namespace string, port int) error {
	if err := errors.Join(ctx.Err(), n.fault("DialInside")); err != nil {
		return err
	}
	if n.config.Dial == nil {
		return fmt.Errorf("port %d in %s: %w", port, namespace, ErrRefused)
	}
	return n.config.Dial(namespace, port)
}

// TalkInside has nobody to talk to: what accepts connections is taken to have said the right thing.
func (n *Network) TalkInside(ctx context.Context, namespace string, port int, _ func(net.Conn) error) error {
	return n.DialInside(ctx, namespace, port)
}

// Remove takes away what Publish, Join, Live and Hold made.
func (n *Network) Remove(context.Context) error {
	if err := n.fault("Remove"); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.published = nil
	n.leave()
	return nil
}

// Reboot forgets everything, as a kernel does.
func (n *Network) Reboot() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed, n.published, n.listening = map[string]bool{}, nil, map[network.Port]string{}
	n.leave()
}

func (n *Network) fault(method string) error {
	if n.config.Fault == nil {
		return nil
	}
	return n.config.Fault(method)
}
