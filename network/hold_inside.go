// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long a container asks for an address before it refuses: as long as a node waits.
	patience = 30 * time.Second
	// askEvery is how often: by default the kernel asks once a second, and what it asks before all is ready is lost.
	askEvery = 20 * time.Millisecond
	// waitingBytes is how much of a container's may wait for one address.
	waitingBytes = 1 << 20
)

// Of <linux/neighbour.h>.
const (
	ndtaName       = 1
	ndtaParms      = 6
	ndtpaIfindex   = 1
	ndtpaRetrans   = 5
	ndtpaMcast     = 11
	ndtpaQueueSize = 16
)

// settle gives both ends of a link what a member of a cluster network needs.
func settle(namespace string, handle *netlink.Handle, inner, outer netlink.Link) error {
	tunnel, err := findTunnel()
	if err != nil || tunnel == nil || outer.Attrs().MasterIndex != tunnel.MasterIndex {
		return err
	}
	if err := fit(handle, inner, outer, tunnel.MTU); err != nil {
		return err
	}
	return waitLonger(namespace, inner)
}

// waitLonger lets what an application asks of another wait while that one moves and answers nobody.
func waitLonger(namespace string, inner netlink.Link) error {
	inside, err := openNamespace(namespace)
	if err != nil {
		return err
	}
	defer inside.Close()
	socket, err := nl.GetNetlinkSocketAt(inside, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer socket.Close()
	for family, table := range map[uint8]string{unix.AF_INET: "arp_cache", unix.AF_INET6: "ndisc_cache"} {
		err := setNeighbours(socket, family, table, inner)
		if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
			continue // no IPv6 inside
		}
		if err != nil {
			return fmt.Errorf("let packets to neighbours of %s wait %v: %w", inner.Attrs().Name, patience, err)
		}
	}
	return nil
}

func setNeighbours(socket *nl.NetlinkSocket, family uint8, table string, inner netlink.Link) error {
	request := nl.NewNetlinkRequest(unix.RTM_SETNEIGHTBL, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	request.AddData(&nl.RtGenMsg{RtGenmsg: unix.RtGenmsg{Family: family}})
	request.AddData(nl.NewRtAttr(ndtaName, nl.ZeroTerminated(table)))
	settings := nl.NewRtAttr(unix.NLA_F_NESTED|ndtaParms, nil)
	settings.AddRtAttr(ndtpaIfindex, nl.Uint32Attr(uint32(inner.Attrs().Index)))
	settings.AddRtAttr(ndtpaRetrans, nl.Uint64Attr(uint64(askEvery.Milliseconds())))
	settings.AddRtAttr(ndtpaMcast, nl.Uint32Attr(uint32(patience/askEvery)))
	settings.AddRtAttr(ndtpaQueueSize, nl.Uint32Attr(waitingBytes))
	request.AddData(settings)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
