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
	Subnet6  netip.Prefix // zero where this cluster or this host has no IPv6; addresses in it end in the IPv4 ones
	Address  netip.Addr   // this node's, the gateway of its containers
	Service  netip.Addr   // every node answers to it itself
	Underlay netip.Addr   // where other nodes reach this one
	Peers    []netip.Addr // the other nodes' underlay addresses
	Key      uint32       // the VXLAN network identifier, 24 bits
	Port     int          // UDP; 0 is DefaultPort
}

// leastMTU6 is below which a kernel ends IPv6 on a device.
const leastMTU6 = 1280

// Check says what is wrong with a fabric.
func (f Fabric) Check() error {
	if !f.Subnet.IsValid() || !f.Subnet.Addr().Is4() || f.Subnet != f.Subnet.Masked() {
		return fmt.Errorf("join cluster network: subnet %s is not an IPv4 network address", f.Subnet)
	}
	if six := f.Subnet6; six.IsValid() && (!six.Addr().Is6() || !six.Addr().IsGlobalUnicast() || six.Bits() != subnet6Bits || six != six.Masked()) {
		return fmt.Errorf("join cluster network %s: subnet %s is not an IPv6 network address of %d bits", f.Subnet, six, subnet6Bits)
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
	for _, s := range stacksOf(f.Subnet6) {
		if err := errors.Join(n.checkBridge(bridge, s, f), checkClash(bridge, s, f)); err != nil {
			return err
		}
	}
	mtu, err := underlayMTU(f)
	if err != nil {
		return err
	}
	if f.Subnet6.IsValid() && mtu < leastMTU6 {
		return fmt.Errorf("join cluster network %s: %d bytes fit between nodes and IPv6 needs %d: raise the MTU of the device of %s",
			f.Subnet6, mtu, leastMTU6, f.Underlay)
	}
	n.member, n.subnet6, n.last = true, f.Subnet6, nil // what was published may have been for another family only
	if err := n.leaveIPv6(ctx); err != nil {
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
func (n *Network) checkBridge(bridge netlink.Link, s stack, f Fabric) error {
	addresses, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, s.kernel) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", n.bridge, err)
	}
	want := netip.PrefixFrom(s.of(f.Address), s.subnetOf(f).Bits())
	var have []netip.Prefix
	for _, a := range addresses {
		if prefixOf(a.IPNet) == want {
			return nil
		}
		have = append(have, prefixOf(a.IPNet))
	}
	return fmt.Errorf("join cluster network %s: bridge %s has %v, not this node's address %s: remove Docker's network of this bridge, it is made again",
		s.subnetOf(f), n.bridge, have, want)
}

// subnetOf is the fabric's subnet in this family.
func (s stack) subnetOf(f Fabric) netip.Prefix {
	if s.kernel == unix.AF_INET {
		return f.Subnet
	}
	return f.Subnet6
}

func prefixOf(n *net.IPNet) netip.Prefix {
	address, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
