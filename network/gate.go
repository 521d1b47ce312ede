// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// SetGate opens or closes the namespace's only link to anyone else, by the state of the link's end on this node. Nothing passes a
// closed gate in either direction; within the namespace everything goes on.
func (n *Network) SetGate(ctx context.Context, namespace string, open bool) error {
	_, err := nodeSide(namespace, func(handle *netlink.Handle, inner, outer netlink.Link) error {
		if err := settle(namespace, handle, inner, outer); err != nil {
			return err
		}
		set := netlink.LinkSetDown
		if open {
			set = netlink.LinkSetUp
		}
		if err := set(outer); err != nil {
			return fmt.Errorf("set link %s: %w", outer.Attrs().Name, err)
		}
		if !open {
			return nil
		}
		return errors.Join(untilUp(ctx, netlink.LinkByIndex, outer), untilUp(ctx, handle.LinkByIndex, inner))
	})
	if err != nil {
		return fmt.Errorf("gate of %s: %w", namespace, err)
	}
	return nil
}

const (
	// upWithin bounds the wait for a link that was set up; the kernel does the rest of it a little later.
	upWithin  = 2 * time.Second
	lookAgain = 500 * time.Microsecond
)

// untilUp returns once this end of the link passes what comes. Until then the bridge drops what it has for the container, and the
// container's kernel what that sends, as its question for the address of the first who asks; what waited for the application
// comes in the moment in which it is announced.
func untilUp(ctx context.Context, byIndex func(int) (netlink.Link, error), link netlink.Link) error {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		now, err := byIndex(link.Attrs().Index)
		if err != nil {
			return fmt.Errorf("look at link %s: %w", link.Attrs().Name, err)
		}
		if now.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("link %s was set up and is %s: %w", link.Attrs().Name, now.Attrs().OperState, ctx.Err())
		}
	}
}

// GateOpen says whether the gate is open.
func (n *Network) GateOpen(_ context.Context, namespace string) (bool, error) {
	link, err := nodeSide(namespace, nil)
	if err != nil {
		return false, fmt.Errorf("gate of %s: %w", namespace, err)
	}
	return link.Attrs().Flags&net.FlagUp != 0, nil
}

// nodeSide finds this node's end of the namespace's link, and does with both ends what is to be done.
func nodeSide(namespace string, do func(handle *netlink.Handle, inner, outer netlink.Link) error) (link netlink.Link, err error) {
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
		if do != nil {
			err = do(handle, inner, outer)
		}
		return outer, err
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
