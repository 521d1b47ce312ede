// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// States of a socket in /proc/net: a TCP one that listens, a UDP one that takes packets from anyone.
const (
	tcpListen = "0A"
	udpBound  = "07"
)

// threadNet holds the sockets of the calling thread's network namespace. "/proc/net" is that of the process's first thread, which
// DialInside may have taken elsewhere.
const threadNet = "/proc/thread-self/net"

// Listening returns the ports of this node in use and who uses them; our own published ports are not among them.
func (n *Network) Listening(ctx context.Context) (map[Port]string, error) {
	inodes := map[string]Port{}
	for file, state := range map[string]string{"tcp": tcpListen, "tcp6": tcpListen, "udp": udpBound, "udp6": udpBound} {
		if err := readSockets(filepath.Join(threadNet, file), strings.TrimSuffix(file, "6"), state, inodes); err != nil {
			return nil, err
		}
	}
	ports := map[Port]string{}
	for _, port := range inodes {
		ports[port] = "a process that cannot be named"
	}
	return ports, nameOwners(ctx, inodes, ports)
}

// readSockets adds the ports of a table by their sockets' inodes. IPv6 may be absent.
func readSockets(path, protocol, state string, inodes map[string]Port) (err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != state {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		number, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return fmt.Errorf("port in %s: %w", path, err)
		}
		inodes[fields[9]] = Port{Protocol: protocol, Number: int(number)}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("list sockets in %s: %w", path, err)
	}
	return nil
}

// nameOwners finds the processes that hold the sockets; processes that end meanwhile are passed over.
func nameOwners(ctx context.Context, inodes map[string]Port, ports map[Port]string) error {
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
			if port, found := inodes[strings.TrimSuffix(inode, "]")]; isSocket && found {
				ports[port] = processName(process)
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
	return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process))
}
