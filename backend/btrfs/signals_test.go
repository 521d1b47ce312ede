// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// signalling sends every thread of this process the scheduler's signal, and writes what is sent.
type signalling struct{ bytes.Buffer }

func (s *signalling) Write(p []byte) (int, error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0, err
	}
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.Tgkill(os.Getpid(), id, unix.SIGURG) // the thread may be gone
		}
	}
	return s.Buffer.Write(p)
}

// TestASignalDoesNotBeginTheStreamAnew sends slowly enough that the kernel waits to write, which a signal interrupts.
func TestASignalDoesNotBeginTheStreamAnew(t *testing.T) {
	a := newPool(t, 256<<20)
	id := fresh(t, a)
	if err := a.Write(id, "file", bytes.Repeat([]byte("0123456789abcdef"), 2<<20)); err != nil {
		t.Fatal(err)
	}
	s := a.snapshot(t, id, 1)
	want := a.stream(t, id, s, "")
	var got signalling
	if err := a.driver.Send(t.Context(), id, s.Name, "", &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes were sent; want the same %d as without signals", got.Len(), len(want))
	}
}
