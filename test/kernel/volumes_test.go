// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/load"
)

// networkStorage is the back end of a cluster that has nothing to copy; empty for one that copies.
func networkStorage() string {
	switch with := os.Getenv(backend); with {
	case "", "btrfs", "zfs":
		return ""
	default:
		return with
	}
}

// onVolumes enters a cluster on network storage.
func onVolumes(t *testing.T) *stage {
	t.Helper()
	if networkStorage() == "" {
		t.Skip("needs network storage: FLOCKER_BACKEND=loopback, which make test runs too")
	}
	return enter(t)
}

// copies leaves a test of what is copied to clusters that copy.
func copies(t *testing.T) *stage {
	t.Helper()
	if networkStorage() != "" {
		t.Skip("is about copies of peer-to-peer storage, and this cluster has " + networkStorage())
	}
	return enter(t)
}

// fences says whether the nodes' storage can itself keep a node out.
func fences() bool { return slices.Contains([]string{"nbd", "rbd"}, os.Getenv(backend)) }

const sparePort = 7009

// spare runs a Redis of its own on node2, with its image (and, where storage copies, a replica) on node1 too, and a writer on it.
func (s *stage) spare() *load.Writer {
	s.T.Helper()
	return s.spareThat("", "")
}

// spareThat does something beside it, in a shell, and has further keys in its file.
func (s *stage) spareThat(does, keys string) *load.Writer {
	s.T.Helper()
	s.deploy("node1", "spare", `
image: redis:8
command: [sh, -c, "cp $(command -v redis-server) /tmp/side; `+does+`exec /tmp/side --port 7009 --protected-mode no --appendonly yes --appendfsync always --save ''"]
ports: [{internal: 7009, external: 7009}]
volumes: [{dataset: spare-data, mountpoint: /data}]
hooks: {preset: redis}
`+keys)
	w, err := load.Start(s.ctx, load.Redis{}, s.Everywhere(sparePort), pace)
	s.must(err)
	s.must(w.WaitFor(s.ctx, settle))
	s.moved("spare", "node2")
	s.must(w.WaitFor(s.ctx, settle))
	return w
}

// givenUp waits until a node is not heard any more.
func (s *stage) givenUp(node string) {
	s.T.Helper()
	s.must(s.Until(s.ctx, node+" to be given up", func() (bool, error) {
		st, err := s.Status(s.ctx)
		for _, n := range st.Nodes {
			if n.Name == node {
				return !n.IsAlive, err
			}
		}
		return false, err
	}))
}

// failedOver runs spare on node1 in place of node2, on an operator's word that node2 is off where its storage needs that.
func (s *stage) failedOver(w *load.Writer) {
	s.T.Helper()
	if !fences() {
		s.refused("node", "fail-over", "spare", "--to", "node1") // nobody has said that it is off
		_, err := s.Flocker(s.ctx, "node", "fence", "node2", "--yes-it-is-off")
		s.must(err)
	}
	began := time.Now()
	_, err := s.Flocker(s.ctx, "node", "fail-over", "spare", "--to", "node1")
	s.must(err)
	s.must(w.WaitFor(s.ctx, settle))
	s.Logf("serves on node1 %v after the fail-over", time.Since(began))
}

// haunt begins to write by the address of one node only, as one of its old clients. laid looks for what was answered, once
// something was.
func (s *stage) haunt(node string) (laid func()) {
	s.T.Helper()
	address := s.Everywhere(sparePort)[slices.Index(s.NodeNames(), node)]
	var enough atomic.Bool
	answered := make(chan map[string]string, 1) // by whom, which is a process
	go func() {
		by := map[string]string{}
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for n := 0; s.ctx.Err() == nil && (!enough.Load() || len(by) == 0); n++ {
			if process := s.appendGhost(address, n); process != "" {
				by[strconv.Itoa(n)] = process
			}
			<-tick.C
		}
		answered <- by
	}()
	return func() {
		s.T.Helper()
		enough.Store(true)
		all := <-answered
		c := redis.NewClient(&redis.Options{Addr: s.Everywhere(sparePort)[0], DisableIdentity: true})
		defer c.Close()
		stored, err := c.LRange(s.ctx, "ghosts", 0, -1).Result()
		s.must(err)
		now, err := c.Info(s.ctx, "server").Result()
		s.must(err)
		old := 0
		for n, process := range all {
			if !slices.Contains(stored, n) {
				s.Errorf("record %s was answered at %s and is lost", n, node)
			}
			if !strings.Contains(now, process) {
				old++
			}
		}
		s.Logf("%d records were answered at %s, %d of them by the process that lost its volume", len(all), node, old)
	}
}

// appendGhost writes a record and says which process answered; empty where none did.
func (s *stage) appendGhost(address string, n int) (process string) {
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: time.Second, DisableIdentity: true})
	defer c.Close()
	info, err := c.Info(s.ctx, "server").Result()
	if err != nil || c.RPush(s.ctx, "ghosts", n).Err() != nil {
		return ""
	}
	return regexp.MustCompile(`run_id:\w+`).FindString(info)
}

// kept ends a writer: nothing that it was answered may be lost.
func (s *stage) wholeCount(w *load.Writer) {
	s.T.Helper()
	v, err := w.Stop(s.ctx)
	s.must(err)
	s.Logf("%+v", v)
	if v.Lost > 0 || v.Duplicated > 0 {
		s.Errorf("%+v: nothing may be lost", v)
	}
}

// TestFailOverOfAVolume takes a volume over from a node that is off. Nothing is lost, and the node that comes back serves
// and writes nothing.
func TestFailOverOfAVolume(t *testing.T) {
	s := onVolumes(t)
	w := s.spare()
	s.must(s.PowerOff(s.ctx, "node2"))
	s.givenUp("node2")
	s.failedOver(w)
	s.must(s.PowerOn(s.ctx, "node2"))
	s.settled()
	if home := s.home("spare"); home != "node1" {
		s.Errorf("spare is on %s, want node1", home)
	}
	s.must(w.WaitFor(s.ctx, settle))
	s.moved("spare", "node2")
	s.must(w.WaitFor(s.ctx, settle))
	s.wholeCount(w)
}

// countOnDisk writes a growing number around every cache into one block of spare's volume, until it cannot.
const countOnDisk = spareFolder + `
	n=0; while n=$((n + 1)); printf %-4096s $n | dd of="$folder/count" bs=4096 count=1 iflag=fullblock oflag=direct,sync conv=notrunc; do sleep 0.02; done`

const spareFolder = `folder=$(docker inspect -f '{{(index .Mounts 0).Source}}' flocker--spare);`

// counted is the number that a node reads there, around every cache too.
func (s *stage) counted(node string) int {
	s.T.Helper()
	out, err := s.Exec(s.ctx, node, "sh", "-c", spareFolder+` dd if="$folder/count" bs=4096 count=1 iflag=direct 2>/dev/null`)
	if err != nil || len(out) == 0 {
		return 0 // not there yet
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	s.must(err)
	return n
}

// TestFrozenNodeIsShutOut takes a volume from a node that hangs. When that wakes it knows nothing yet, and its application goes on:
// nothing that it writes comes to the volume, nothing is lost that it answers, and it is heard no more once it has asked.
func TestFrozenNodeIsShutOut(t *testing.T) {
	s := onVolumes(t)
	if !fences() {
		t.Skip("needs storage that keeps a node out: FLOCKER_BACKEND=nbd or rbd")
	}
	w := s.spare()
	s.onNode("node2", countOnDisk+" </dev/null >/dev/null 2>&1 &")
	s.must(s.Until(s.ctx, "the count on the volume to begin", func() (bool, error) { return s.counted("node2") > 0, nil }))
	s.must(s.Until(s.ctx, "node2 to freeze", func() (bool, error) { // not while somebody waits for the disk in the kernel
		_, err := s.Dev(s.ctx, "pause", "node2")
		return err == nil, err
	}))
	s.givenUp("node2")
	s.failedOver(w)
	count := s.counted("node1")
	_, err := s.Dev(s.ctx, "unpause", "node2")
	s.must(err)
	woken := time.Now()
	ghosts := s.haunt("node2")
	s.must(s.Until(s.ctx, "node2 to shut its spare up", func() (bool, error) {
		a, err := s.Application(s.ctx, "spare")
		_, runs := a.Elsewhere["node2"]
		return !runs || a.Elsewhere["node2"].State != cluster.ContainerRunning, err
	}))
	s.Logf("node2 has stopped its spare %v after it woke", time.Since(woken))
	if now := s.counted("node1"); count == 0 || now != count {
		s.Errorf("the volume had %d on it when it was taken, and %d after the node woke that had been writing it", count, now)
	}
	s.settled()
	ghosts()
	if home := s.home("spare"); home != "node1" {
		s.Errorf("spare is on %s, want node1", home)
	}
	s.must(w.WaitFor(s.ctx, settle))
	s.moved("spare", "node2") // what was left of the volume there is gone
	s.must(w.WaitFor(s.ctx, settle))
	s.wholeCount(w)
}
