// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What the first word of our locks says.
const (
	attachedBy  = "flocker"         // MACHINE CLIENT ADDRESS
	destroyedBy = "flocker-destroy" // MACHINE
)

// lockEntry is a lock of an image, as Ceph has it.
type lockEntry struct {
	ID      string
	Locker  string
	Address string
}

// holder is who has an image's lock.
type holder struct {
	lockEntry
	machine string // that it is attached to
	client  client // through which that machine writes
	leaving bool   // it is being destroyed
}

// who is what a volume says of the machine that has it: the locker, where that is none of ours.
func (h *holder) who() string {
	if h.machine == "" && !h.leaving {
		return h.Locker
	}
	return h.machine
}

func (h *holder) String() string {
	switch {
	case h.machine != "":
		return "attached to " + h.machine
	case h.leaving:
		return "it is being destroyed"
	}
	return fmt.Sprintf("%s has locked it as %q, which is not Flocker's", h.Locker, h.ID)
}

// holderOf reads the lock of an image. Nil is none.
func (s *Store) holderOf(ctx context.Context, image string) (*holder, error) {
	var entries []lockEntry
	err := s.ceph.rbdJSON(ctx, &entries, "lock", "ls", s.ceph.image(image))
	if noImage(err) {
		return nil, absent(image)
	}
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	return read(entries[0]), nil
}

// read says what a lock means. Whatever is not exactly as we write it is somebody else's.
func read(e lockEntry) *holder {
	words := strings.Split(e.ID, " ")
	switch {
	case words[0] == destroyedBy:
		return &holder{lockEntry: e, leaving: true}
	case words[0] != attachedBy || len(words) != 4 || !instance(words[3]):
		return &holder{lockEntry: e}
	}
	id, err := strconv.ParseUint(words[2], 10, 64)
	if err != nil {
		return &holder{lockEntry: e}
	}
	return &holder{lockEntry: e, machine: words[1], client: client{id, words[3]}}
}

func (s *Store) attachment(c client) string {
	return strings.Join([]string{attachedBy, s.machine, strconv.FormatUint(c.id, 10), c.address}, " ")
}

// take takes an image's lock, which one client in the world gets. An answer that was lost is no loss: the lock says whose it is.
func (s *Store) take(ctx context.Context, image, words string) error {
	_, err := s.ceph.rbd(ctx, "lock", "add", s.ceph.image(image), words)
	switch {
	case noImage(err):
		return absent(image)
	case status(err) != int(unix.EBUSY) && status(err) != int(unix.EEXIST):
		return err
	}
	h, err := s.holderOf(ctx, image)
	switch {
	case err != nil:
		return err
	case h == nil:
		return busy(image, "another had its lock for a moment")
	case h.ID != words:
		return busy(image, h)
	}
	return nil
}

// release gives up exactly this lock, and none that came after it. A lock that is not there is success.
func (s *Store) release(ctx context.Context, image string, h *holder) error {
	// It would blocklist the program that once took the lock, which has ended long ago.
	_, err := s.ceph.rbd(ctx, "lock", "rm", s.ceph.image(image), h.ID, h.Locker, "--rbd-blocklist-on-break-lock=false")
	if status(err) != int(unix.ENOENT) {
		return err
	}
	now, err := s.holderOf(ctx, image)
	if err == nil && now != nil && now.lockEntry == h.lockEntry {
		return fmt.Errorf("volume %s: its lock %q stays", image, h.ID)
	}
	return gone(err)
}
