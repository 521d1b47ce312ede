// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// States of a socket: a TCP one that listens, a UDP one that takes packets from anyone.
const (
	tcpListen = 10
	udpBound  = 7
)

// Of the kernel's inet_diag_req_v2 and inet_diag_msg.
const (
	questionLength = 56
	portAt         = 4
	inodeAt        = 68
)

// Listening returns the ports of this node in use and who uses them; our own published ports are not among them.
func (n *Network) Listening(ctx context.Context) (map[Port]string, error) {
	inodes := map[string]Port{}
	for _, table := range []struct {
		protocol byte
		name     string
		state    int
	}{{unix.IPPROTO_TCP, "tcp", tcpListen}, {unix.IPPROTO_UDP, "udp", udpBound}} {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			answers, err := steady(func() ([][]byte, error) { return askSockets(family, table.protocol, table.state) })
			if err != nil {
				return nil, fmt.Errorf("list sockets of %s: %w", table.name, err)
			}
			for _, a := range answers {
				if len(a) >= inodeAt+4 {
					inode := strconv.FormatUint(uint64(binary.NativeEndian.Uint32(a[inodeAt:])), 10)
					inodes[inode] = Port{Protocol: table.name, Number: int(binary.BigEndian.Uint16(a[portAt:]))}
				}
			}
		}
	}
	owners, err := n.owners.of(ctx, inodes)
	if err != nil {
		return nil, err
	}
	ports := map[Port]string{}
	for inode, port := range inodes {
		if who := owners[inode]; ports[port] == "" || who < ports[port] { // several may share a port; it is the same each time
			ports[port] = who
		}
	}
	return ports, nil
}

// socketOwners remembers who has which socket: to look through all processes takes much longer than to list sockets.
type socketOwners struct {
	mu    sync.Mutex
	known map[string]string // by inode
}

// of names the owners of the sockets; processes are looked through only where one is new.
func (o *socketOwners) of(ctx context.Context, inodes map[string]Port) (map[string]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, fresh := map[string]string{}, false
	for inode := range inodes {
		who, known := o.known[inode]
		if now[inode] = who; !known {
			now[inode], fresh = "a process that cannot be named", true
		}
	}
	if fresh {
		if err := nameOwners(ctx, now); err != nil {
			return nil, err
		}
	}
	o.known = now
	return maps.Clone(now), nil
}

// askSockets lists sockets of one state in the calling thread's network namespace. To read them from /proc would go through all
// connections of the node.
func askSockets(family, protocol byte, state int) ([][]byte, error) {
	request := nl.NewNetlinkRequest(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	question := make([]byte, questionLength)
	question[0], question[1] = family, protocol
	binary.NativeEndian.PutUint32(question[4:], 1<<state)
	request.AddRawData(question)
	return request.Execute(unix.NETLINK_SOCK_DIAG, 0)
}

// nameOwners finds the processes that hold the sockets; processes that end meanwhile are passed over.
func nameOwners(ctx context.Context, owners map[string]string) error {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, process := range processes {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Join(process, "fd"))
		if err != nil {
			continue
		}
		for _, entry := range entries {
			target, err := os.Readlink(filepath.Join(process, "fd", entry.Name()))
			if err != nil {
				continue
			}
			inode, isSocket := strings.CutPrefix(target, "socket:[")
			inode = strings.TrimSuffix(inode, "]")
			if _, found := owners[inode]; isSocket && found {
				owners[inode] = processName(process)
			}
		}
	}
	return nil
}

func processName(process string) string {
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil {
		return "process " + filepath.Base(process)
	}
	return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(process))
}
