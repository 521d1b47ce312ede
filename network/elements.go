// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// elements are members of one of our sets, to be added or taken away.
type elements struct {
	family byte // unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, unix.NFPROTO_BRIDGE
	set    string
	keys   [][]byte
	away   bool          // only what is there can be taken away
	all    bool          // takes away all that are there, of which there need be none
	limit  time.Duration // after which the kernel takes them away by itself; 0 is never
}

// changeElements makes all of the changes or none. It speaks to the kernel itself: a run of nft takes 3 ms, and 8 more where something is
// taken away, because it ends only when the kernel has freed the memory. This is in the gap of every move.
func changeElements(changes []elements) error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer func() { go unix.Close(socket) }() // closing is what waits for the memory
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return fmt.Errorf("set up netlink socket: %w", err)
	}
	batch, last := elementBatch(changes)
	if last == 0 {
		return nil
	}
	if err := unix.Sendto(socket, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	return awaitAnswer(socket, last)
}

// awaitAnswer waits until the kernel has answered the last message; what went wrong before comes before it.
func awaitAnswer(socket int, last uint32) error {
	answer := make([]byte, 1<<16)
	for {
		size, _, err := unix.Recvfrom(socket, answer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the kernel's answer: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:size])
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			if failed := int32(binary.NativeEndian.Uint32(m.Data)); failed != 0 {
				return unix.Errno(-failed)
			}
			if m.Header.Seq == last {
				return nil
			}
		}
	}
}

// Of <linux/netfilter/nfnetlink.h> and nf_tables.h.
const (
	batchBegin   = 0x10
	batchEnd     = 0x11
	nftables     = 10
	listTable    = 1
	listSet      = 2
	listElements = 3
	listElement  = 1
	elementKey   = 1
	elementLimit = 4
	dataValue    = 1
	atOnce       = 1000 // elements of one message: an attribute's length has 16 bits
)

// elementBatch is the whole transaction; the message numbered last is answered.
func elementBatch(changes []elements) (batch []byte, last uint32) {
	var messages []*nl.NetlinkRequest
	for _, c := range changes {
		if c.all {
			messages = append(messages, elementMessage(c, nil))
		}
		for keys := c.keys; len(keys) > 0; keys = keys[min(atOnce, len(keys)):] {
			messages = append(messages, elementMessage(c, keys[:min(atOnce, len(keys))]))
		}
	}
	if len(messages) == 0 {
		return nil, 0
	}
	messages[len(messages)-1].Flags |= unix.NLM_F_ACK
	messages = append([]*nl.NetlinkRequest{batchMessage(batchBegin)}, append(messages, batchMessage(batchEnd))...)
	for i, m := range messages {
		m.Seq = uint32(i + 1)
		batch = append(batch, m.Serialize()...)
	}
	return batch, uint32(len(messages) - 1)
}

func batchMessage(kind int) *nl.NetlinkRequest {
	m := nl.NewNetlinkRequest(kind, 0)
	m.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0, ResId: nl.Swap16(nftables)})
	return m
}

func elementMessage(c elements, keys [][]byte) *nl.NetlinkRequest {
	kind, flags := unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE // what is there already stays
	if c.away {
		kind, flags = unix.NFT_MSG_DELSETELEM, 0
	}
	m := nl.NewNetlinkRequest(nftables<<8|kind, flags)
	m.AddData(&nl.Nfgenmsg{NfgenFamily: c.family, Version: nl.NFNETLINK_V0})
	m.AddData(nl.NewRtAttr(listTable, nl.ZeroTerminated(tableName)))
	m.AddData(nl.NewRtAttr(listSet, nl.ZeroTerminated(c.set)))
	if c.all {
		return m
	}
	all := nl.NewRtAttr(unix.NLA_F_NESTED|listElements, nil)
	for _, key := range keys {
		one := all.AddRtAttr(unix.NLA_F_NESTED|listElement, nil)
		one.AddRtAttr(unix.NLA_F_NESTED|elementKey, nil).AddRtAttr(dataValue, key)
		if c.limit > 0 && !c.away {
			one.AddRtAttr(elementLimit, binary.BigEndian.AppendUint64(nil, uint64(c.limit.Milliseconds())))
		}
	}
	m.AddData(all)
	return m
}
