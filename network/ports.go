// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// tendPorts gives the ports of the bridge what Docker does not: the way back to an application that calls itself by its published
// port, and the size of frame that fits between nodes. The port to the other nodes sends nothing back, or frames would go round.
func (n *Network) tendPorts() error {
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	links, err := steady(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links of bridge %s: %w", n.bridge, err)
	}
	mtu := 0 // not a member of a cluster network
	var ports []netlink.Link
	for _, link := range links {
		switch {
		case link.Attrs().MasterIndex != bridge.Attrs().Index:
		case link.Attrs().Name == tunnelName:
			mtu = link.Attrs().MTU
		default:
			ports = append(ports, link)
		}
	}
	hairpin, err := steady(hairpins)
	if err != nil {
		return fmt.Errorf("list ports of bridge %s: %w", n.bridge, err)
	}
	for _, link := range ports {
		if hairpin[link.Attrs().Index] {
			continue
		}
		err := errors.Join(remember(link, formerHairpin, "off"), netlink.LinkSetHairpin(link, true))
		if err != nil && exists(link) {
			return fmt.Errorf("link %s of bridge %s: set hairpin mode: %w", link.Attrs().Name, n.bridge, err)
		}
	}
	if mtu == 0 {
		return nil
	}
	return fitAll(bridge, ports, mtu)
}

// hairpins are the bridges' ports that have hairpin mode, by index, in one look: the library would take one for each port.
func hairpins() (map[int]bool, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	have := map[int]bool{}
	for _, answer := range answers {
		link, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: unix.RTM_NEWLINK}, answer)
		if err != nil {
			return nil, err
		}
		if link.Attrs().Protinfo != nil && link.Attrs().Protinfo.Hairpin {
			have[link.Attrs().Index] = true
		}
	}
	return have, nil
}

// fitAll gives the ports and the bridge a size of frame, both ends of a port or neither: a frame too long for the far end is lost
// without a word.
func fitAll(bridge netlink.Link, ports []netlink.Link, mtu int) error {
	var unfit []netlink.Link
	for _, port := range ports {
		if port.Attrs().MTU != mtu {
			unfit = append(unfit, port)
		}
	}
	if len(unfit) > 0 {
		namespaces := numberedNamespaces()
		for _, port := range unfit {
			path, found := namespaces[port.Attrs().NetNsID]
			if !found || port.Type() != "veth" {
				continue // SetGate comes by with the namespace
			}
			if err := fitNamespace(path, port, mtu); err != nil && exists(port) {
				return err
			}
		}
	}
	bridge, err := netlink.LinkByIndex(bridge.Attrs().Index) // by itself it follows its smallest port
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	if bridge.Attrs().MTU == mtu {
		return nil
	}
	if err := remember(bridge, formerMTU, strconv.Itoa(bridge.Attrs().MTU)); err != nil {
		return err
	}
	return setMTU(bridge, mtu)
}

// numberedNamespaces finds namespaces by the numbers under which this one knows them, through the processes in them.
func numberedNamespaces() map[int]string {
	paths, _ := filepath.Glob("/proc/[0-9]*/ns/net") // the pattern is a good one
	seen := map[string]bool{}
	found := map[int]string{}
	for _, path := range paths {
		name, err := os.Readlink(path)
		if err != nil || seen[name] {
			continue // a process that ended
		}
		seen[name] = true
		handle, err := netns.GetFromPath(path)
		if err != nil {
			continue
		}
		if number, err := netlink.GetNetNsIdByFd(int(handle)); err == nil && number >= 0 {
			found[number] = path
		}
		handle.Close()
	}
	return found
}

func fitNamespace(path string, port netlink.Link, mtu int) (err error) {
	inside, err := openNamespace(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inside.Close()) }()
	handle, err := netlink.NewHandleAt(inside)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer handle.Close()
	inner, err := handle.LinkByIndex(port.Attrs().ParentIndex)
	if err != nil {
		return fmt.Errorf("find the far end of link %s: %w", port.Attrs().Name, err)
	}
	return fit(handle, inner, port, mtu)
}

// fit sets the end inside first: when the end on this node is right, both are.
func fit(handle *netlink.Handle, inner, outer netlink.Link, mtu int) error {
	if outer.Attrs().MTU == mtu {
		return nil
	}
	if err := remember(outer, formerMTU, strconv.Itoa(outer.Attrs().MTU)); err != nil {
		return err
	}
	if err := handle.LinkSetMTU(inner, mtu); err != nil {
		return fmt.Errorf("set MTU %d at the far end of link %s: %w", mtu, outer.Attrs().Name, err)
	}
	return setMTU(outer, mtu)
}

func setMTU(link netlink.Link, mtu int) error {
	if link.Attrs().MTU == mtu {
		return nil
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU %d of device %s: %w", mtu, link.Attrs().Name, err)
	}
	return nil
}
