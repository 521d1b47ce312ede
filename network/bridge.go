// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridgeSettings are the kernel's settings of the bridge for the families, each with its reason.
func bridgeSettings(bridge string, stacks []stack) map[string]string {
	neighbours := map[string]string{
		// A client that tries early makes the kernel ask for an address before its interface is up; it would ask again only after 1 s.
		"retrans_time_ms": "20",
		// What waits for an application in a move waits so long, 30 to 36 s as the kernel rounds, and so much, 30,000 first packets.
		"mcast_solicit":    "1500",
		"unres_qlen_bytes": "67108864",
	}
	all := map[string]string{
		// Whose frames are turned over to this node in a move is not told of a shorter way: for a second after that the kernel would not
		// tell him either that nobody answers. The first is for all interfaces, of which each still has its own.
		"ipv4/conf/all/send_redirects":                       "0",
		filepath.Join("ipv4/conf", bridge, "send_redirects"): "0",
		// This node's own connections to 127.0.0.1 may leave by the bridge; chain "guard" keeps the other direction shut.
		filepath.Join("ipv4/conf", bridge, "route_localnet"): "1",
	}
	for _, s := range stacks {
		for name, value := range neighbours {
			all[filepath.Join(s.settings(), "neigh", bridge, name)] = value
		}
		if s.kernel == unix.AF_INET6 {
			all["ipv6/conf/all/forwarding"] = "1" // before 6.17 no kernel has one for some
			// See askFromLink.
			all[filepath.Join("ipv6/conf", bridge, "accept_dad")] = "0"
		}
	}
	return all
}

// settings is where the kernel has those of the family.
func (s stack) settings() string {
	if s.kernel == unix.AF_INET {
		return "ipv4"
	}
	return "ipv6"
}

// noteOf is the name under which the former value of a setting is noted.
func noteOf(name string) string {
	of, note := filepath.Split(name)
	if filepath.Base(of) == "all" {
		note = "all." + note
	}
	if strings.HasPrefix(name, "ipv6/") {
		note = "6." + note // an alias has place for 255 letters
	}
	return note
}

func (n *Network) ensureBridge() error {
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	stacks, err := n.stacks()
	if err != nil {
		return err
	}
	for name, value := range bridgeSettings(n.bridge, stacks) {
		now, err := readSetting(name)
		if err == nil && now != value {
			err = errors.Join(remember(bridge, noteOf(name), now), setting(name, value))
		}
		if err != nil {
			return fmt.Errorf("bridge %s: %w", n.bridge, err)
		}
	}
	if len(stacks) > 1 {
		return askFromLink(bridge)
	}
	return nil
}

// askFromLink lets the bridge use its addresses of the link whoever else has them. Docker gives fe80::1 to each node's bridge, and
// when it starts again takes away the one that the kernel made of the hardware address: nodes that found each other's would have none
// from which to ask for an application. Who is asked answers the one who asked last, by the hardware address in the question.
func askFromLink(bridge netlink.Link) error {
	all, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, unix.AF_INET6) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", bridge.Attrs().Name, err)
	}
	for _, a := range all {
		if a.Scope != unix.RT_SCOPE_LINK || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			continue
		}
		again := &netlink.Addr{IPNet: a.IPNet, Scope: a.Scope, Flags: unix.IFA_F_NODAD}
		if err := errors.Join(netlink.AddrDel(bridge, &a), netlink.AddrAdd(bridge, again)); err != nil {
			return fmt.Errorf("use address %s of bridge %s at once: %w", a.IPNet, bridge.Attrs().Name, err)
		}
	}
	return nil
}

// subnet is the network of the containers on the bridge.
func (n *Network) subnet(s stack) (string, error) {
	if s.kernel == unix.AF_INET6 {
		return s.subnet6.String(), nil
	}
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return "", fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	addresses, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, unix.AF_INET) })
	if err != nil {
		return "", fmt.Errorf("list addresses of bridge %s: %w", n.bridge, err)
	}
	for _, a := range addresses {
		if own := a.IPNet; a.Label != n.bridge+serviceLabel {
			return (&net.IPNet{IP: own.IP.Mask(own.Mask), Mask: own.Mask}).String(), nil
		}
	}
	return "", fmt.Errorf("bridge %s has no IPv4 address of its own: make Docker's network of this bridge again", n.bridge)
}

// exists is false for a link that went away with its container.
func exists(link netlink.Link) bool {
	_, err := netlink.LinkByIndex(link.Attrs().Index)
	_, gone := errors.AsType[netlink.LinkNotFoundError](err)
	return !gone
}

// steady repeats a listing that was disturbed by a change meanwhile, such as another container's start.
func steady[T any](list func() (T, error)) (T, error) {
	const tries = 20
	for range tries {
		if all, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return list()
}

// setting writes a setting of this process's network namespace, where it differs.
func setting(name, value string) error {
	if now, err := readSetting(name); err != nil || now == value {
		return err
	}
	if err := os.WriteFile(filepath.Join(settings, name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("write setting: %w", err)
	}
	return nil
}

func readSetting(name string) (string, error) {
	now, err := os.ReadFile(filepath.Join(settings, name))
	if err != nil {
		return "", fmt.Errorf("read setting: %w", err)
	}
	return strings.TrimSpace(string(now)), nil
}

const settings = "/proc/sys/net"
