// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// goFirst lets this process have the processor before ordinary ones until the test ends, for what measures milliseconds: on a busy
// machine both ends of a connection within it otherwise wait for their turn, some 100 ms, with nothing in the way of a packet.
func goFirst(t *testing.T) {
	t.Helper()
	if err := schedule(unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}); err != nil {
		t.Logf("measured in competition with all that runs on this machine: %v", err)
		return
	}
	t.Cleanup(func() { must(t, schedule(unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL})) })
}

// schedule changes all threads: a new one is as who made it, so it looks again until it finds none that it has not seen.
func schedule(how unix.SchedAttr) error {
	for done := map[string]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		before := len(done)
		for _, thread := range threads {
			if done[thread.Name()] {
				continue
			}
			done[thread.Name()] = true
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetAttr(id, &how, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if len(done) == before {
			return nil
		}
	}
}
