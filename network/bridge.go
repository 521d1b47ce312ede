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

// bridgeSettings are the kernel's settings of the bridge, each with its reason.
func bridgeSettings(bridge string) map[string]string {
	return map[string]string{
		// A client that tries early makes the kernel ask for an address before its interface is up; it would ask again only after 1 s.
		filepath.Join("ipv4/neigh", bridge, "retrans_time_ms"): "20",
		// This node's own connections to 127.0.0.1 may leave by the bridge; chain "guard" keeps the other direction shut.
		filepath.Join("ipv4/conf", bridge, "route_localnet"): "1",
	}
}

func (n *Network) ensureBridge() error {
	for name, value := range bridgeSettings(n.bridge) {
		if err := setting(name, value); err != nil {
			return fmt.Errorf("bridge %s: %w", n.bridge, err)
		}
	}
	return nil
}

// subnet is the network of the containers on the bridge.
func (n *Network) subnet() (string, error) {
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return "", fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	addresses, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, unix.AF_INET) })
	if err != nil {
		return "", fmt.Errorf("list addresses of bridge %s: %w", n.bridge, err)
	}
	if len(addresses) == 0 {
		return "", fmt.Errorf("bridge %s has no IPv4 address", n.bridge)
	}
	own := addresses[0].IPNet
	return (&net.IPNet{IP: own.IP.Mask(own.Mask), Mask: own.Mask}).String(), nil
}

// returnPackets lets the bridge send packets back where they came from: an application may call itself by its published port.
func (n *Network) returnPackets() error {
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	links, err := steady(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links of bridge %s: %w", n.bridge, err)
	}
	for _, link := range links {
		if link.Attrs().MasterIndex != bridge.Attrs().Index {
			continue
		}
		if err := setHairpin(link); err != nil && exists(link) {
			return fmt.Errorf("link %s of bridge %s: %w", link.Attrs().Name, n.bridge, err)
		}
	}
	return nil
}

func setHairpin(link netlink.Link) error {
	info, err := steady(func() (netlink.Protinfo, error) { return netlink.LinkGetProtinfo(link) })
	if err != nil || info.Hairpin {
		return err
	}
	return netlink.LinkSetHairpin(link, true)
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
	path := filepath.Join("/proc/sys/net", name)
	now, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read setting: %w", err)
	}
	if strings.TrimSpace(string(now)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("write setting: %w", err)
	}
	return nil
}
