// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultPort is VXLAN's own UDP port.
const DefaultPort = 4789

// Fabric is the cluster network as one node has it: one subnet, stretched between the nodes' bridges.
type Fabric struct {
	Subnet   netip.Prefix
	Address  netip.Addr   // this node's, the gateway of its containers
	Service  netip.Addr   // every node answers to it itself
	Underlay netip.Addr   // where other nodes reach this one
	Peers    []netip.Addr // the other nodes' underlay addresses
	Key      uint32       // the VXLAN network identifier, 24 bits
	Port     int          // UDP; 0 is DefaultPort
}

// Check says what is wrong with a fabric.
func (f Fabric) Check() error {
	if !f.Subnet.IsValid() || !f.Subnet.Addr().Is4() || f.Subnet != f.Subnet.Masked() {
		return fmt.Errorf("join cluster network: subnet %s is not an IPv4 network address", f.Subnet)
	}
	for name, address := range map[string]netip.Addr{"node": f.Address, "service": f.Service} {
		if !f.Subnet.Contains(address) {
			return fmt.Errorf("join cluster network %s: %s address %s is outside it", f.Subnet, name, address)
		}
	}
	if f.Address == f.Service {
		return fmt.Errorf("join cluster network %s: %s cannot be both the node's and the service address", f.Subnet, f.Address)
	}
	for _, address := range append([]netip.Addr{f.Underlay}, f.Peers...) {
		if !address.Is4() || f.Subnet.Contains(address) {
			return fmt.Errorf("join cluster network %s: nodes reach each other at IPv4 addresses outside it, not at %s", f.Subnet, address)
		}
	}
	if f.Key == 0 || f.Key >= 1<<24 {
		return fmt.Errorf("join cluster network %s: key %d is not between 1 and %d", f.Subnet, f.Key, 1<<24-1)
	}
	if f.Port < 0 || f.Port > 65535 {
		return fmt.Errorf("join cluster network %s: %d is not a UDP port", f.Subnet, f.Port)
	}
	return nil
}

// complete fills in the default and drops peers that are named twice or are this node.
func (f Fabric) complete() Fabric {
	if f.Port == 0 {
		f.Port = DefaultPort
	}
	f.Peers = slices.SortedFunc(slices.Values(f.Peers), netip.Addr.Compare)
	f.Peers = slices.DeleteFunc(slices.Compact(f.Peers), func(peer netip.Addr) bool { return peer == f.Underlay })
	return f
}

// Join makes this node part of the cluster network, and changes only what differs. The bridge must exist with the node's address.
// What keeps applications unheard stands before anything can pass between nodes.
func (n *Network) Join(ctx context.Context, f Fabric) error {
	if err := f.Check(); err != nil {
		return err
	}
	if len(n.bridge+serviceLabel) >= unix.IFNAMSIZ {
		return fmt.Errorf("join cluster network %s: bridge name %q is too long for the label of the service address: choose one of at most %d letters",
			f.Subnet, n.bridge, unix.IFNAMSIZ-1-len(serviceLabel))
	}
	f = f.complete()
	n.mu.Lock()
	defer n.mu.Unlock()
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("join cluster network %s: find bridge %s: %w", f.Subnet, n.bridge, err)
	}
	if err := n.checkBridge(bridge, f); err != nil {
		return err
	}
	if err := checkClash(bridge, f.Subnet); err != nil {
		return err
	}
	mtu, err := underlayMTU(f)
	if err != nil {
		return err
	}
	if err := errors.Join(n.ensureShut(ctx, bridge, f), n.ensureLeading(ctx, true), n.ensureBridge(), n.ensureForward(ctx)); err != nil {
		return err
	}
	if err := answerTo(bridge, f.Service); err != nil {
		return err
	}
	if err := n.ensureTunnel(bridge, f, mtu); err != nil {
		return err
	}
	return n.tendPorts()
}

// Leave takes this node out of the cluster network: nothing that Join, Live or Publish made is left.
func (n *Network) Leave(ctx context.Context) error { return n.Remove(ctx) }

// checkBridge refuses a bridge that the container runtime made for another network.
func (n *Network) checkBridge(bridge netlink.Link, f Fabric) error {
	addresses, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", n.bridge, err)
	}
	want := netip.PrefixFrom(f.Address, f.Subnet.Bits())
	var have []netip.Prefix
	for _, a := range addresses {
		if prefixOf(a.IPNet) == want {
			return nil
		}
		have = append(have, prefixOf(a.IPNet))
	}
	return fmt.Errorf("join cluster network %s: bridge %s has %v, not this node's address %s: remove Docker's network of this bridge, it is made again",
		f.Subnet, n.bridge, have, want)
}

// answerTo gives the bridge the service address, and takes that of an earlier fabric away; no address is valid too.
func answerTo(bridge netlink.Link, service netip.Addr) error {
	name := bridge.Attrs().Name
	all, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", name, err)
	}
	stands := false
	for _, a := range all {
		if a.Label != name+serviceLabel {
			continue
		}
		if prefixOf(a.IPNet).Addr() == service {
			stands = true
			continue
		}
		if err := netlink.AddrDel(bridge, &a); err != nil {
			return fmt.Errorf("take service address %s from bridge %s: %w", a.IPNet, name, err)
		}
	}
	if stands || !service.IsValid() {
		return nil
	}
	own := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(service, 32)), Label: name + serviceLabel}
	if err := netlink.AddrAdd(bridge, own); err != nil {
		return fmt.Errorf("give bridge %s the service address %s: %w", name, service, err)
	}
	return nil
}

// serviceLabel marks the address that is ours among those of the bridge.
const serviceLabel = ":svc"

func prefixOf(n *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// removeService takes the service address away; without a bridge there is none.
func (n *Network) removeService() error {
	bridge, err := netlink.LinkByName(n.bridge)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	return answerTo(bridge, netip.Addr{})
}
