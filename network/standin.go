// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// standIn answers containers of this node that ask who has an address at which nobody is: this node. What they send there comes to
// it then, and is refused at once; else they would ask 50 times a second, for as long as if the application moved. It ends with
// this process: an address for which nobody answers is asked for again.
type standIn struct {
	log    *slog.Logger
	socket *os.File
	mac    net.HardwareAddr // of the bridge

	mu    sync.Mutex
	addrs map[netip.Addr]bool // in all families
	until time.Time
	ended bool
}

// standInFor begins, changes or ends the answers for addresses. The lock is held.
func (n *Network) standInFor(addrs []netip.Addr, limit time.Duration) error {
	if len(addrs) == 0 {
		n.endStandIn()
		return nil
	}
	until := time.Now().Add(limit)
	if n.standIn != nil && n.standIn.answerFor(addrs, until) {
		return nil
	}
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	socket, err := openQuestions(bridge.Attrs().Index)
	if err != nil {
		return fmt.Errorf("hear who asks on bridge %s: %w", n.bridge, err)
	}
	n.standIn = &standIn{log: n.log, socket: socket, mac: bridge.Attrs().HardwareAddr}
	n.standIn.answerFor(addrs, until)
	n.standing.Go(n.standIn.run)
	return nil
}

// endStandIn does not wait: closing such a socket takes the kernel 8 ms. The lock is held.
func (n *Network) endStandIn() {
	if n.standIn != nil {
		n.standIn.answerFor(nil, time.Now())
		n.standIn = nil
	}
}

// answerFor is false for one that has ended.
func (s *standIn) answerFor(addrs []netip.Addr, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.until, s.addrs = until, map[netip.Addr]bool{}
	for _, addr := range addrs {
		s.addrs[addr] = true
	}
	s.ended = s.socket.SetReadDeadline(until) != nil
	return !s.ended
}

func (s *standIn) run() {
	defer s.socket.Close()
	frame := make([]byte, questionBytes)
	for {
		size, err := s.socket.Read(frame)
		if err == nil {
			if answer := s.answer(frame[:size]); answer != nil {
				_, err = s.socket.Write(answer)
			}
		}
		if err != nil && s.ends(err) {
			return
		}
	}
}

// ends says whether it is over: its time, or the bridge.
func (s *standIn) ends(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if late && time.Now().Before(s.until) {
		return false // it was prolonged meanwhile
	}
	if !late {
		s.log.Warn("containers are not told any more who is not there", "reason", err)
	}
	s.ended = true
	return true
}

// Offsets in frames: of who asks, of whom is asked for, and the least length.
const (
	arpSender, arpAsker, arpTarget, arpBytes = 22, 28, 38, 42
	ndAsker, ndTarget, ndBytes               = 22, 62, 78
)

// answer is nil for what is not to be answered: other addresses, and those who look whether an address is free or tell their own.
func (s *standIn) answer(frame []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(frame) >= arpBytes && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP {
		asker, target := netip.AddrFrom4([4]byte(frame[arpAsker:])), netip.AddrFrom4([4]byte(frame[arpTarget:]))
		if !s.addrs[target] || asker.IsUnspecified() || asker == target {
			return nil
		}
		return answerARP(target, s.mac, asker, frame[arpSender:arpAsker])
	}
	if len(frame) >= ndBytes && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 {
		asker, target := netip.AddrFrom16([16]byte(frame[ndAsker:])), netip.AddrFrom16([16]byte(frame[ndTarget:]))
		if !s.addrs[target] || asker.IsUnspecified() {
			return nil
		}
		return advertisement{of: target, mac: s.mac, to: asker, toMAC: frame[6:12], flags: overrideFlag | solicitedFlag}.frame()
	}
	return nil
}

// questionBytes is more than what is read of a question.
const questionBytes = 128

// openQuestions hears requests of ARP and of neighbour discovery that come to the bridge, and nothing else.
func openQuestions(bridge int) (*os.File, error) {
	file, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	const request, icmp6, solicitation = 1, unix.IPPROTO_ICMPV6, 135
	half, octet := uint16(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS), uint16(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS)
	is, end := uint16(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K), uint16(unix.BPF_RET|unix.BPF_K)
	program := []unix.SockFilter{
		{Code: half, K: 12},
		{Code: is, K: unix.ETH_P_ARP, Jf: 2},
		{Code: half, K: 20},
		{Code: is, K: request, Jt: 5, Jf: 6},
		{Code: is, K: unix.ETH_P_IPV6, Jf: 5},
		{Code: octet, K: 20},
		{Code: is, K: icmp6, Jf: 3},
		{Code: octet, K: 54},
		{Code: is, K: solicitation, Jf: 1},
		{Code: end, K: questionBytes},
		{Code: end},
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	err = errors.Join(
		unix.SetsockoptSockFprog(file, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}),
		unix.SetsockoptInt(file, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
	)
	if err == nil {
		err = unix.Bind(file, &unix.SockaddrLinklayer{Ifindex: bridge, Protocol: all})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up packet socket: %w", err), unix.Close(file))
	}
	return os.NewFile(uintptr(file), "questions"), nil
}

// standInRules are for what this node's own stack tells others by the tunnel: the answers stay here. Another node may find the
// application, and its containers would not learn that it is back.
func standInRules(f Fabric) []string {
	rules := []string{fmt.Sprintf("arp operation reply arp saddr ip != %s drop", f.Address)}
	if f.Subnet6.IsValid() {
		own := ipv6(f.Subnet6).of(f.Address)
		rules = append(rules, fmt.Sprintf("icmpv6 type nd-neighbor-advert ip6 saddr != { %s, fe80::/10 } drop", own))
	}
	return rules
}
