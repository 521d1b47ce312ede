// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// SetGate opens or closes the namespace's only link to anyone else, by the state of the link's end on this node. Nothing passes a
// closed gate in either direction; within the namespace everything goes on.
func (n *Network) SetGate(_ context.Context, namespace string, open bool) error {
	link, err := nodeSide(namespace)
	if err != nil {
		return fmt.Errorf("gate of %s: %w", namespace, err)
	}
	set := netlink.LinkSetDown
	if open {
		set = netlink.LinkSetUp
	}
	if err := set(link); err != nil {
		return fmt.Errorf("gate of %s: set link %s: %w", namespace, link.Attrs().Name, err)
	}
	return nil
}

// GateOpen says whether the gate is open.
func (n *Network) GateOpen(_ context.Context, namespace string) (bool, error) {
	link, err := nodeSide(namespace)
	if err != nil {
		return false, fmt.Errorf("gate of %s: %w", namespace, err)
	}
	return link.Attrs().Flags&net.FlagUp != 0, nil
}

// nodeSide finds this node's end of the namespace's link.
func nodeSide(namespace string) (link netlink.Link, err error) {
	inside, err := openNamespace(namespace)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, inside.Close()) }()
	handle, err := netlink.NewHandleAt(inside)
	if err != nil {
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	defer handle.Close()
	links, err := steady(handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links of network namespace: %w", err)
	}
	for _, inner := range links {
		if inner.Type() != "veth" || inner.Attrs().ParentIndex == 0 {
			continue
		}
		outer, err := netlink.LinkByIndex(inner.Attrs().ParentIndex)
		if err != nil {
			return nil, fmt.Errorf("find link %d on this node: %w", inner.Attrs().ParentIndex, err)
		}
		return outer, nil
	}
	return nil, ErrNoLink
}

func openNamespace(path string) (netns.NsHandle, error) {
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return handle, fmt.Errorf("open network namespace: %w", err)
	}
	return handle, nil
}
