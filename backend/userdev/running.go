// SPDX-License-Identifier: Apache-2.0

package userdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/mount"
)

// Running are the devices that this machine's kernel has, by volume: also one whose server has ended, which answers every
// request with an error.
func (d *Devices) Running() (map[string]string, error) {
	loops, err := mount.Loops()
	if err != nil {
		return nil, err
	}
	running := map[string]string{}
	for _, l := range loops {
		if id, ours := d.ours(l.File); ours {
			running[id] = l.Device
		}
	}
	return running, nil
}

// ours tells the volume of a loop device's file.
func (d *Devices) ours(file string) (id string, ours bool) {
	folder, name := filepath.Split(file)
	dir, id := filepath.Split(filepath.Clean(folder))
	return id, name == diskFile && filepath.Clean(dir) == d.dir
}

// servers are handles of the processes that serve a device, which the caller closes. There may be two where a crash left one.
func (d *Devices) servers(id string) ([]server, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []server
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !d.serves(id, commandLine(pid)) {
			continue
		}
		found = append(found, server{pid: pid, is: func(words []string) bool { return d.serves(id, words) }})
	}
	return found, nil
}

// commandLine is empty of a process that has ended, waited for or not.
func commandLine(pid int) []string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// server is a process that serves a device.
type server struct {
	pid int
	is  func(commandLine []string) bool
}

// signal sends a signal to this very process, never to another that got its number.
func (s server) signal(signal unix.Signal) error {
	fd, err := unix.PidfdOpen(s.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", s.pid, err)
	}
	defer unix.Close(fd)
	if !s.is(commandLine(s.pid)) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", s.pid, err)
	}
	return nil
}

func (s server) gone() bool { return !s.is(commandLine(s.pid)) }
