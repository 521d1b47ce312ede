// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// announcements is how often each is sent: one lost frame would leave a node sending to the old place for minutes.
	announcements = 3
	// answerWithin bounds the wait for those who are announced: one that does not run has nothing to lose by it.
	answerWithin = 250 * time.Millisecond
	askAgain     = 2 * time.Millisecond
)

// announce tells every node, in the applications' names, that they are here now: by gratuitous ARP and by unsolicited neighbour
// advertisements. Who answers to the first hears in both families.
func (n *Network) announce(bridge netlink.Link, stacks []stack, addrs []netip.Addr, wait time.Duration) error {
	if len(addrs) == 0 {
		return nil
	}
	s, err := openARP(bridge)
	if err != nil {
		return fmt.Errorf("announce %v: %w", addrs, err)
	}
	// Closing such a socket waits until no processor can still deliver to it, 8 ms in which a move's clients need not wait.
	defer func() { go unix.Close(s.file) }()
	silent, err := s.untilAnswered(addrs, wait, askAgain)
	if err != nil {
		return fmt.Errorf("announce %v: %w", addrs, err)
	}
	if len(silent) > 0 && wait > 0 {
		n.log.Warn("applications are announced that do not answer", "addresses", silent, "after", wait)
	}
	for range announcements {
		for _, addr := range inAll(stacks, addrs) {
			if err := s.send(announcement(addr)); err != nil {
				return fmt.Errorf("announce %s on bridge %s: %w", addr, n.bridge, err)
			}
		}
	}
	return nil
}

// arpSocket sends and receives ARP frames as the bridge's own host does.
type arpSocket struct {
	file   int
	bridge *netlink.LinkAttrs
}

func openARP(bridge netlink.Link) (arpSocket, error) {
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	file, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return arpSocket{}, fmt.Errorf("open packet socket: %w", err)
	}
	err = unix.Bind(file, &unix.SockaddrLinklayer{Ifindex: bridge.Attrs().Index, Protocol: protocol})
	if err != nil {
		return arpSocket{}, errors.Join(fmt.Errorf("bind packet socket to %s: %w", bridge.Attrs().Name, err), unix.Close(file))
	}
	return arpSocket{file, bridge.Attrs()}, nil
}

func (s arpSocket) send(frame []byte) error {
	return unix.Sendto(s.file, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.bridge.Index})
}

// untilAnswered lets each application speak once, and returns who has not. All that waits for one comes in the moment of its
// announcement: it would go to every port before this node's bridge has learned its own; and the kernel is done with a link that
// was set up on one end a little later on the other, where what is sent before is dropped and asked for again after a second.
func (s arpSocket) untilAnswered(addrs []netip.Addr, wait, again time.Duration) (silent []netip.Addr, err error) {
	silent = slices.Clone(addrs)
	for end := time.Now().Add(wait); len(silent) > 0; {
		for _, addr := range silent {
			if err := s.send(probeARP(s.bridge.HardwareAddr, addr)); err != nil {
				return silent, fmt.Errorf("ask for %s on bridge %s: %w", addr, s.bridge.Name, err)
			}
		}
		if !time.Now().Before(end) {
			break
		}
		for next := time.Now().Add(again); len(silent) > 0; {
			sender, err := s.answer(next)
			if err != nil {
				return silent, err
			}
			if !sender.IsValid() {
				break
			}
			silent = without(silent, []netip.Addr{sender})
		}
	}
	return silent, nil
}

// answer is who has sent an ARP reply, nobody if none comes before end.
func (s arpSocket) answer(end time.Time) (netip.Addr, error) {
	frame := make([]byte, 64)
	for {
		n, _, err := unix.Recvfrom(s.file, frame, unix.MSG_DONTWAIT)
		if sender := replyingARP(frame[:max(n, 0)]); err == nil && sender.IsValid() {
			return sender, nil
		}
		left := time.Until(end)
		switch {
		case left <= 0:
			return netip.Addr{}, nil
		case errors.Is(err, unix.EAGAIN):
			wait := unix.NsecToTimespec(left.Nanoseconds())
			_, err = unix.Ppoll([]unix.PollFd{{Fd: int32(s.file), Events: unix.POLLIN}}, &wait, nil)
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return netip.Addr{}, fmt.Errorf("wait for answers on bridge %s: %w", s.bridge.Name, err)
		}
	}
}

// replyingARP is the application that sent the frame, nobody if it is no ARP reply of one.
func replyingARP(frame []byte) netip.Addr {
	const sender, address, end = 22, 28, 32 // of a frame's ARP packet: hardware and IPv4 address of who sent it
	if len(frame) < end || frame[20] != 0 || frame[21] != 2 {
		return netip.Addr{}
	}
	addr := netip.AddrFrom4([4]byte(frame[address:end]))
	if !bytes.Equal(frame[sender:address], macOf(addr)) {
		return netip.Addr{}
	}
	return addr
}

// probeARP is a request for the address by nobody, which its holder answers.
func probeARP(from net.HardwareAddr, addr netip.Addr) []byte {
	mac, own := macOf(addr), addr.As4()
	frame := append(append([]byte{}, mac...), from...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP; Ethernet, IPv4, their lengths, request
	frame = append(append(frame, from...), 0, 0, 0, 0)
	return append(append(frame, 0, 0, 0, 0, 0, 0), own[:]...)
}

// answerARP tells who asked that this hardware address has the address.
func answerARP(addr netip.Addr, mac net.HardwareAddr, asker netip.Addr, to net.HardwareAddr) []byte {
	frame := append(append([]byte{}, to...), mac...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2) // ARP; Ethernet, IPv4, their lengths, reply
	frame = append(append(frame, mac...), addr.AsSlice()...)
	return append(append(frame, to...), asker.AsSlice()...)
}

// gratuitousARP is a request for the address by its own holder.
func gratuitousARP(addr netip.Addr) []byte {
	everyone := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	mac, own := macOf(addr), addr.As4()
	frame := append(append([]byte{}, everyone...), mac...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP; Ethernet, IPv4, their lengths, request
	frame = append(append(frame, mac...), own[:]...)
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), own[:]...)
	return frame
}
