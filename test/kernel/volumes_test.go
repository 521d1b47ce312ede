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

// onVolumes enters a cluster on network storage.
func onVolumes(t *testing.T) *stage {
	t.Helper()
	if os.Getenv(backend) == "" {
		t.Skip("needs network storage: FLOCKER_BACKEND=loopback, which make test runs too")
	}
	return enter(t)
}

// copies leaves a test of what is copied to clusters that copy.
func copies(t *testing.T) *stage {
	t.Helper()
	if os.Getenv(backend) != "" {
		t.Skip("is about copies of peer-to-peer storage, and this cluster has " + os.Getenv(backend))
	}
	return enter(t)
}

// fences says whether the nodes' storage can itself keep a node out.
func fences() bool { return os.Getenv(backend) == "nbd" }

const sparePort = 7009

// spare runs a Redis of its own on node2, with its image on node1 too, and a writer on it.
func (s *stage) spare() *load.Writer {
	s.T.Helper()
	s.deploy("node1", "spare", `
image: redis:8
command: [sh, -c, "cp $(command -v redis-server) /tmp/side; exec /tmp/side --port 7009 --protected-mode no --appendonly yes --appendfsync always --save ''"]
ports: [{internal: 7009, external: 7009}]
volumes: [{dataset: spare-data, mountpoint: /data}]
hooks: {preset: redis}
`)
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
func (s *stage) kept(w *load.Writer) {
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
	s.kept(w)
}

// TestFrozenNodeIsShutOut takes a volume from a node that hangs. When that wakes it knows nothing yet, and its application goes on:
// nothing that it writes comes to the volume, nothing is lost that it answers, and it is heard no more once it has asked.
func TestFrozenNodeIsShutOut(t *testing.T) {
	s := onVolumes(t)
	if !fences() {
		t.Skip("needs storage that keeps a node out: FLOCKER_BACKEND=nbd, which make test runs too")
	}
	w := s.spare()
	device := s.onNode("node2", `findmnt -n -o SOURCE --target "$(docker inspect -f '{{(index .Mounts 0).Source}}' flocker--spare)"`)
	file := s.onNode("node2", `cat "/sys/block/${0#/dev/}/loop/backing_file"`, device)
	_, err := s.Dev(s.ctx, "pause", "node2")
	s.must(err)
	s.givenUp("node2")
	s.failedOver(w)
	_, err = s.Dev(s.ctx, "unpause", "node2")
	s.must(err)
	woken := time.Now()
	ghosts := s.haunt("node2")
	// A write around every cache, to the last block, where nothing is.
	if out, err := s.Exec(s.ctx, "node2", "sh", "-c", `grep -qxF "$2" "/sys/block/${1#/dev/}/loop/backing_file" || exit 1
		size=$(blockdev --getsize64 "$1") && dd if=/dev/zero of="$1" bs=4096 count=1 seek=$((size / 4096 - 1)) oflag=direct,sync conv=notrunc`,
		"sh", device, file); err == nil {
		s.Errorf("a write to the volume that was taken from it succeeded: %s", out)
	}
	s.must(s.Until(s.ctx, "node2 to shut its spare up", func() (bool, error) {
		a, err := s.Application(s.ctx, "spare")
		_, runs := a.Elsewhere["node2"]
		return !runs || a.Elsewhere["node2"].State != cluster.ContainerRunning, err
	}))
	s.Logf("node2 has stopped its spare %v after it woke", time.Since(woken))
	s.settled()
	ghosts()
	if home := s.home("spare"); home != "node1" {
		s.Errorf("spare is on %s, want node1", home)
	}
	s.must(w.WaitFor(s.ctx, settle))
	s.moved("spare", "node2") // what was left of the volume there is gone
	s.must(w.WaitFor(s.ctx, settle))
	s.kept(w)
}
