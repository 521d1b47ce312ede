// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// sightings are when clients were answered, by the process that answered.
type sightings struct {
	mu    sync.Mutex
	first map[string]time.Time // when the answer had come
	last  map[string]time.Time // when the question was sent
	total map[string]int
}

// watch asks spare by the address of every node until the context ends.
func (s *stage) watch(ctx context.Context) (seen *sightings, ended *sync.WaitGroup) {
	seen = &sightings{first: map[string]time.Time{}, last: map[string]time.Time{}, total: map[string]int{}}
	ended = &sync.WaitGroup{}
	for _, address := range s.Everywhere(sparePort) {
		ended.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				asked := time.Now()
				if process := s.appendGhost(address, n); process != "" {
					seen.note(process, asked, time.Now())
				}
				<-tick.C
			}
		})
	}
	return seen, ended
}

func (o *sightings) note(process string, asked, answered time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at, known := o.first[process]; !known || answered.Before(at) {
		o.first[process] = answered
	}
	if asked.After(o.last[process]) {
		o.last[process] = asked
	}
	o.total[process]++
}

// processes are who answered, the first one first.
func (o *sightings) processes() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for process, at := range o.first {
		i := 0
		for i < len(all) && o.first[all[i]].Before(at) {
			i++
		}
		all = append(all[:i], append([]string{process}, all[i:]...)...)
	}
	return all
}

// TestFrozenNodesApplicationIsTakenOver lets an application be taken over by itself from a node that hangs. From when its successor has
// answered nobody is answered by the former one any more, although that goes on when the node wakes: the kernel has shut it off.
func TestFrozenNodesApplicationIsTakenOver(t *testing.T) {
	s := enter(t)
	if networkStorage() != "" && !fences() {
		t.Skip("needs storage that copies, or that keeps a node out itself")
	}
	// It speaks by itself, as applications do: that tells the cluster network where it is.
	w := s.spareThat("(while :; do timeout 1 redis-cli -h postgres -p 5432 ping; sleep 0.02; done) >/dev/null 2>&1 & ", "fail_over: {max_loss: 1h}\n")
	s.must(s.Until(s.ctx, "spare to be one that can be taken over", func() (bool, error) {
		a, err := s.Application(s.ctx, "spare")
		return err == nil && len(a.Warnings) == 0, err
	}))
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	seen, ended := s.watch(ctx)
	s.must(w.WaitFor(s.ctx, settle))
	s.must(s.Until(s.ctx, "node2 to freeze", func() (bool, error) { // not while somebody waits for the disk in the kernel
		_, err := s.Dev(s.ctx, "pause", "node2")
		return err == nil, err
	}))
	frozen := time.Now()
	s.must(s.Until(s.ctx, "spare to be served by another process", func() (bool, error) { return len(seen.processes()) > 1, nil }))
	s.Logf("served by its successor %v after node2 froze", time.Since(frozen))
	_, err := s.Dev(s.ctx, "unpause", "node2")
	s.must(err)
	woken := time.Now()
	s.must(s.Until(s.ctx, "node2 to give spare up", func() (bool, error) {
		a, err := s.Application(s.ctx, "spare")
		_, there := a.Elsewhere["node2"]
		return err == nil && !there && a.Container != nil && a.Container.State == cluster.ContainerRunning, err
	}))
	s.Logf("node2 has given it up %v after it woke", time.Since(woken))
	s.must(w.WaitFor(s.ctx, settle))
	cancel()
	ended.Wait()
	all := seen.processes()
	if len(all) != 2 {
		s.T.Fatalf("answered by %s; want the former process and its successor", strings.Join(all, ", "))
	}
	if over, begun := seen.last[all[0]], seen.first[all[1]]; over.After(begun) {
		s.Errorf("the former process answered what was asked %v after its successor had answered (%v)", over.Sub(begun), seen.total)
	}
	if home := s.home("spare"); home != "node1" {
		s.Errorf("spare is on %s, want node1", home)
	}
	v, err := w.Stop(s.ctx)
	s.must(err)
	if s.Logf("%+v", v); fences() && v.Lost > 0 {
		s.Errorf("%+v: nothing may be lost", v)
	}
}
