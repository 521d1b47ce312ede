// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// formerMark begins, in a device's alias, what was there before this package changed it. So a later process can put it back.
const formerMark = "flocker was"

// former reads what was there before, and the alias without it.
func former(link netlink.Link) (was map[string]string, alias string) {
	alias, noted, found := strings.Cut(link.Attrs().Alias, formerMark)
	was = map[string]string{}
	if !found {
		return was, alias
	}
	for pair := range strings.FieldsSeq(noted) {
		name, value, _ := strings.Cut(pair, "=")
		was[name] = value
	}
	return was, alias
}

// remember notes what was there before a first change.
func remember(link netlink.Link, name, value string) error {
	now, err := netlink.LinkByIndex(link.Attrs().Index)
	if err != nil {
		return fmt.Errorf("note the former %s of device %s: %w", name, link.Attrs().Name, err)
	}
	was, _ := former(now)
	if _, noted := was[name]; noted {
		return nil
	}
	alias := now.Attrs().Alias
	if len(was) == 0 {
		alias += formerMark
	}
	if err := netlink.LinkSetAlias(now, fmt.Sprintf("%s %s=%s", alias, name, value)); err != nil {
		return fmt.Errorf("note the former %s of device %s: %w", name, link.Attrs().Name, err)
	}
	return nil
}

// forgetFormer ends the note when all is as it was.
func forgetFormer(link netlink.Link) error {
	was, alias := former(link)
	if len(was) == 0 {
		return nil
	}
	// The library leaves an empty alias out, which would change nothing.
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	about := nl.NewIfInfomsg(unix.AF_UNSPEC)
	about.Index = int32(link.Attrs().Index)
	request.AddData(about)
	request.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("remove the note from device %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// restore puts back what was there before on the bridge and its ports, as far as it is as this package left it. The bridge's hardware
// address stays as it was fixed: the kernel has no way back, and it is the one that the bridge had.
func (n *Network) restore() error {
	bridge, err := netlink.LinkByName(n.bridge)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	links, err := steady(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links of bridge %s: %w", n.bridge, err)
	}
	var namespaces map[int]string
	for _, port := range links {
		was, _ := former(port)
		if port.Attrs().MasterIndex != bridge.Attrs().Index || len(was) == 0 {
			continue
		}
		if namespaces == nil {
			namespaces = numberedNamespaces()
		}
		if err := restorePort(port, was, namespaces[port.Attrs().NetNsID]); err != nil && exists(port) {
			return err
		}
	}
	was, _ := former(bridge)
	for name, ours := range bridgeSettings(n.bridge, []stack{ipv4, ipv6(netip.Prefix{})}) {
		value, changed := was[noteOf(name)]
		if now, err := readSetting(name); err != nil || !changed || now != ours {
			continue // a setting that is gone needs none
		}
		if err := setting(name, value); err != nil {
			return fmt.Errorf("bridge %s: %w", n.bridge, err)
		}
	}
	if value, changed := was[formerMTU]; changed {
		if err := putBackMTU(bridge, value); err != nil {
			return err
		}
	}
	return forgetFormer(bridge)
}

// What is noted of a port, and of the bridge.
const (
	formerMTU     = "mtu"
	formerHairpin = "hairpin"
)

// restorePort puts a port back; the far end's size of frame only where its namespace is found, both ends or neither.
func restorePort(port netlink.Link, was map[string]string, namespace string) error {
	if _, changed := was[formerHairpin]; changed {
		if err := netlink.LinkSetHairpin(port, false); err != nil {
			return fmt.Errorf("set hairpin mode of link %s off: %w", port.Attrs().Name, err)
		}
	}
	if value, changed := was[formerMTU]; changed && namespace != "" {
		mtu, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("former MTU %q of link %s is not a number: remove its alias", value, port.Attrs().Name)
		}
		if err := fitNamespace(namespace, port, mtu); err != nil {
			return err
		}
	}
	return forgetFormer(port)
}

func putBackMTU(link netlink.Link, value string) error {
	mtu, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("former MTU %q of device %s is not a number: remove its alias", value, link.Attrs().Name)
	}
	return setMTU(link, mtu)
}
