// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// flow is a connection as the kernel tells it: its attributes by number.
type flow map[uint16][]byte

// Of <linux/netfilter/nfnetlink_conntrack.h>, nf_conntrack_common.h and nf_conntrack_tcp.h.
const (
	ctaNATSource    = 6
	ctaNATTarget    = 13
	ctaNATLeast4    = 1
	ctaNATMost4     = 2
	ctaNATPorts     = 3
	ctaNATLeast6    = 4
	ctaNATMost6     = 5
	ctaNATLeastPort = 1
	ctaNATMostPort  = 2

	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
	statusConfirmed = 1 << 3

	// What is put back of a TCP connection's flags. Where its windows are the kernel does not tell, so all are let through.
	tcpScale, tcpSelective, tcpCloser, tcpLiberal = 1, 2, 4, 8
)

// masqueraded are the connections that were led to the address and are answered through this node, unless they have ended.
func (c conntrack) masqueraded(addr netip.Addr) ([]flow, error) {
	request := c.request(addr, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	addLedFilter(request, addr, statusSourceNAT|statusTargetNAT)
	found, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	var flows []flow
	for _, message := range found {
		one := flow(nested(message[nl.SizeofNfgenmsg:]))
		if isLed(one, addr, statusSourceNAT|statusTargetNAT) && !one.ended() {
			flows = append(flows, one)
		}
	}
	return flows, err
}

// way is the tuple of the connection's packets, or of the answers to them.
func (f flow) way(tuple uint16) (protocol byte, from, to netip.AddrPort) {
	all := nested(f[tuple])
	ip, proto := nested(all[nl.CTA_TUPLE_IP]), nested(all[nl.CTA_TUPLE_PROTO])
	if number := proto[nl.CTA_PROTO_NUM]; len(number) == 1 {
		protocol = number[0]
	}
	end := func(v4, v6, port uint16) netip.AddrPort {
		addr, ok := netip.AddrFromSlice(slices.Concat(ip[v4], ip[v6])) // it has one of them
		if !ok || len(proto[port]) != 2 {
			return netip.AddrPortFrom(addr, 0) // of a protocol without ports
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(proto[port]))
	}
	return protocol, end(nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT), end(nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT)
}

// through says whether the connection came through one of these ports.
func (f flow) through(ports []Publication) bool {
	protocol, _, to := f.way(nl.CTA_TUPLE_ORIG)
	_, from, _ := f.way(nl.CTA_TUPLE_REPLY)
	return slices.ContainsFunc(ports, func(p Publication) bool {
		return p.number() == protocol && p.External == int(to.Port()) && p.Address == from.Addr().String()
	})
}

// ended says of a TCP connection that nothing is to be told any more. There may be many of those.
func (f flow) ended() bool {
	state := nested(nested(f[nl.CTA_PROTOINFO])[nl.CTA_PROTOINFO_TCP])[nl.CTA_PROTOINFO_TCP_STATE]
	return len(state) == 1 && (state[0] == nl.TCP_CONNTRACK_TIME_WAIT || state[0] == nl.TCP_CONNTRACK_CLOSE)
}

// create makes the kernel know the connection for as long as it would have; one that it knows is EEXIST.
func (c conntrack) create(f flow) error {
	protocol, from, to := f.way(nl.CTA_TUPLE_ORIG)
	_, answering, answered := f.way(nl.CTA_TUPLE_REPLY)
	request := c.request(from.Addr(), nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	request.AddData(tuple(nl.CTA_TUPLE_ORIG, protocol, from, to))
	// The answers' is made from this by the two translations.
	request.AddData(tuple(nl.CTA_TUPLE_REPLY, protocol, to, from))
	request.AddData(translation(ctaNATTarget, answering))
	request.AddData(translation(ctaNATSource, answered))
	status := binary.BigEndian.Uint32(f[nl.CTA_STATUS]) & (statusSeenReply | statusAssured | statusConfirmed)
	request.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(status)))
	for _, same := range []int{nl.CTA_TIMEOUT, nl.CTA_MARK} {
		if value, there := f[uint16(same)]; there {
			request.AddData(nl.NewRtAttr(same, value))
		}
	}
	if protocol == unix.IPPROTO_TCP {
		request.AddData(f.tcp())
	}
	_, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

func tuple(kind int, protocol byte, from, to netip.AddrPort) *nl.RtAttr {
	target := nl.CTA_IP_V4_DST
	if to.Addr().Is6() {
		target = nl.CTA_IP_V6_DST
	}
	all := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	ip := all.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(sourceOf(from.Addr()), from.Addr().AsSlice())
	ip.AddRtAttr(target, to.Addr().AsSlice())
	proto := all.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{protocol})
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(from.Port()))
	proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(to.Port()))
	return all
}

// translation makes one end of the connection look like this.
func translation(kind int, as netip.AddrPort) *nl.RtAttr {
	least, most := ctaNATLeast4, ctaNATMost4
	if as.Addr().Is6() {
		least, most = ctaNATLeast6, ctaNATMost6
	}
	all := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	all.AddRtAttr(least, as.Addr().AsSlice())
	all.AddRtAttr(most, as.Addr().AsSlice())
	ports := all.AddRtAttr(unix.NLA_F_NESTED|ctaNATPorts, nil)
	ports.AddRtAttr(ctaNATLeastPort, nl.BEUint16Attr(as.Port()))
	ports.AddRtAttr(ctaNATMostPort, nl.BEUint16Attr(as.Port()))
	return all
}

// tcp is what the kernel tells of a TCP connection.
func (f flow) tcp() *nl.RtAttr {
	known := nested(nested(f[nl.CTA_PROTOINFO])[nl.CTA_PROTOINFO_TCP])
	all := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_PROTOINFO, nil)
	tcp := all.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_PROTOINFO_TCP, nil)
	for _, same := range []int{nl.CTA_PROTOINFO_TCP_STATE, nl.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, nl.CTA_PROTOINFO_TCP_WSCALE_REPLY} {
		if value, there := known[uint16(same)]; there {
			tcp.AddRtAttr(same, value)
		}
	}
	const putBack = tcpScale | tcpSelective | tcpCloser
	for _, side := range []int{nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, nl.CTA_PROTOINFO_TCP_FLAGS_REPLY} {
		was := byte(0)
		if flags := known[uint16(side)]; len(flags) > 0 {
			was = flags[0]
		}
		tcp.AddRtAttr(side, []byte{was&putBack | tcpLiberal, putBack | tcpLiberal}) // the flags, and which of them are meant
	}
	return all
}
