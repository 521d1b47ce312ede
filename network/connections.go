// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// forget drops the connections of a family that were led through ports which have gone from here.
func forget(s stack, gone []Publication) error {
	if len(gone) == 0 {
		return nil
	}
	filters := make([]netlink.CustomConntrackFilter, len(gone))
	for i, p := range gone {
		filters[i] = led{p}
	}
	if err := forgetConnections(s, filters); err != nil {
		return fmt.Errorf("forget connections of %d ports: %w", len(gone), err)
	}
	return nil
}

func forgetConnections(s stack, filters []netlink.CustomConntrackFilter) error {
	_, err := steady(func() (uint, error) {
		return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(s.kernel), filters...)
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // a busy table may never hold still; then new connections were missed
		return err
	}
	return nil
}

// led matches the connections through one published port.
type led struct{ Publication }

// MatchConntrackFlow says whether the connection went through the port to the application's address.
func (l led) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.Protocol == l.number() && int(flow.Forward.DstPort) == l.External && flow.Reverse.SrcIP.String() == l.Address
}

// number is the protocol's.
func (p Publication) number() uint8 {
	if p.Protocol == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// tellStraight drops the connections that were led to the addresses here with the client's own address: an answer from another node
// would not come back through this one. The next packet of such a connection is led anew. The kernel looks through its whole table,
// 5 to 15 ms, for which nobody waits.
func (n *Network) tellStraight(gone []netip.Addr) {
	if len(gone) == 0 {
		return
	}
	table, err := openConntrack()
	if err != nil {
		n.log.Warn("clients of applications that went away are not told, they wait", "error", err)
		return
	}
	n.telling.Go(func() {
		defer table.Close()
		if err := table.forgetStraight(gone); err != nil {
			n.log.Warn("clients of applications that went away are not told, they wait", "error", err)
		}
	})
}

// conntrack is where the kernel's table of connections is spoken to.
type conntrack map[int]*nl.SocketHandle

// openConntrack speaks to the namespace of this thread, whichever thread uses it.
func openConntrack() (conntrack, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return conntrack{unix.NETLINK_NETFILTER: {Socket: socket}}, nil
}

// Close closes the socket.
func (c conntrack) Close() { c[unix.NETLINK_NETFILTER].Close() }

func (c conntrack) forgetStraight(gone []netip.Addr) error {
	for _, addr := range gone {
		// Kernels match an IPv6 address in such a filter the wrong way round: the connections to all others would go (seen on 6.18).
		err := error(unix.EOPNOTSUPP)
		if addr.Is4() {
			err = c.flushStraight(addr)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) { // kernels before 6.11 delete one by one only
			_, err = steady(func() (struct{}, error) { return struct{}{}, c.deleteStraight(addr) })
		}
		if err != nil {
			return fmt.Errorf("forget connections to %s: %w", addr, err)
		}
	}
	return nil
}

// Of <linux/netfilter/nfnetlink_conntrack.h> and nf_conntrack_common.h.
const (
	ctaStatusMask       = 26
	ctaFilter           = 25
	ctaFilterReplyFlags = 2
	ctaFilterSource     = 1 << 0
	statusSourceNAT     = 1 << 4
	statusTargetNAT     = 1 << 5
)

// flushStraight lets the kernel find them. One that cannot takes the address for half of one connection's and refuses.
func (c conntrack) flushStraight(addr netip.Addr) error {
	request := c.request(addr, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
	addLedFilter(request, addr, statusTargetNAT)
	_, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// deleteStraight lists them and deletes each. Kernels before 5.15 list all, and by IPv6 all are asked for, hence the second look.
func (c conntrack) deleteStraight(addr netip.Addr) error {
	request := c.request(addr, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	addLedFilter(request, addr, statusTargetNAT)
	found, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, flow := range found {
		attributes := flow[nl.SizeofNfgenmsg:]
		if !isLed(nested(attributes), addr, statusTargetNAT) {
			continue
		}
		request := c.request(addr, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
		request.AddRawData(attributes)
		if _, gone := request.Execute(unix.NETLINK_NETFILTER, 0); gone != nil && !errors.Is(gone, unix.ENOENT) {
			return gone
		}
	}
	return err
}

func (c conntrack) request(addr netip.Addr, operation, flags int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|operation, flags)
	request.Sockets = c
	request.AddData(&nl.Nfgenmsg{NfgenFamily: kernelFamily(addr), Version: nl.NFNETLINK_V0})
	return request
}

// addLedFilter asks for connections whose answers come from the address and which were translated so; by IPv6 for those to all addresses.
func addLedFilter(request *nl.NetlinkRequest, addr netip.Addr, translated uint32) {
	if addr.Is4() {
		answers := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_REPLY, nil)
		answers.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(nl.CTA_IP_V4_SRC, addr.AsSlice())
		filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
		filter.AddRtAttr(ctaFilterReplyFlags, nl.Uint32Attr(ctaFilterSource))
		request.AddData(answers)
		request.AddData(filter)
	}
	request.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(translated)))
	request.AddData(nl.NewRtAttr(ctaStatusMask, nl.BEUint32Attr(statusSourceNAT|statusTargetNAT)))
}

// sourceOf is the kernel's attribute for who sends.
func sourceOf(addr netip.Addr) int {
	if addr.Is4() {
		return nl.CTA_IP_V4_SRC
	}
	return nl.CTA_IP_V6_SRC
}

// isLed looks at a connection as the kernel tells it: kernels before 5.15 tell of all.
func isLed(f flow, addr netip.Addr, translated uint32) bool {
	status := f[nl.CTA_STATUS]
	_, answering, _ := f.way(nl.CTA_TUPLE_REPLY)
	return len(status) == 4 && binary.BigEndian.Uint32(status)&(statusSourceNAT|statusTargetNAT) == translated && answering.Addr() == addr
}

func nested(attributes []byte) map[uint16][]byte {
	all, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return nil // not what a kernel says; it matches nothing
	}
	values := map[uint16][]byte{}
	for _, a := range all {
		values[a.Attr.Type&nl.NLA_TYPE_MASK] = a.Value
	}
	return values
}
