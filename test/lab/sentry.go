// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// Guarded is an application as it is seen from outside.
type Guarded struct {
	Application string
	Process     string // name of its processes
	Port        int    // on the nodes
}

// Sentry looks at applications from outside, without asking Flocker: in the kernel's list of processes, which all
// nodes share, and at whom the nodes' kernels let be heard. Make it with Guard.
type Sentry struct {
	hearing  *hearing
	macs     map[string]string // by application
	guarded  []Guarded
	machines map[string]string // the node by its container's id
	cancel   context.CancelFunc
	done     chan struct{}

	mu     sync.Mutex
	twice  []double
	broken error
}

// double is an application seen on two nodes at one time.
type double struct {
	application string
	nodes       []string
	at          time.Time
	heard       bool // by clients, not only running
	times       int  // seen again
}

const (
	sweepEvery = 100 * time.Millisecond
	// clockSlack is between a stored time and the moment when a sweep sees its effect.
	clockSlack = time.Second
)

// Guard begins to look.
func (l *Lab) Guard(ctx context.Context, guarded ...Guarded) (*Sentry, error) {
	s := &Sentry{
		hearing: &hearing{lab: l, pids: map[string]string{}}, macs: map[string]string{},
		guarded: guarded, machines: map[string]string{}, done: make(chan struct{}),
	}
	for _, g := range guarded {
		var err error
		if s.macs[g.Application], err = s.hearing.hardwareAddress(ctx, g.Application); err != nil {
			return nil, err
		}
	}
	for i := range l.Nodes {
		container := "flocker-" + l.Name + "-" + Node(i+1)
		id, err := run.Command(ctx, "docker", "inspect", "--format", "{{.Id}}", container).Output()
		if err != nil {
			return nil, err
		}
		s.machines[strings.TrimSpace(string(id))] = Node(i + 1)
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go s.watch(ctx)
	return s, nil
}

func (s *Sentry) watch(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.sweep(ctx)
		}
	}
}

func (s *Sentry) sweep(ctx context.Context) {
	at := time.Now()
	running, err := s.running()
	if err != nil {
		s.mu.Lock()
		s.broken = err
		s.mu.Unlock()
		return
	}
	for _, g := range s.guarded {
		if nodes := running[g.Process]; len(nodes) > 1 {
			s.saw(double{application: g.Application, nodes: nodes, at: at})
		}
		// A move may come between two looks, but not twice.
		if mac := s.macs[g.Application]; len(s.hearing.nodes(ctx, mac)) > 1 {
			if nodes := s.hearing.nodes(ctx, mac); len(nodes) > 1 {
				s.saw(double{application: g.Application, nodes: nodes, at: at, heard: true})
			}
		}
	}
}

func (s *Sentry) saw(d double) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(d.nodes)
	for i := range s.twice {
		if o := &s.twice[i]; o.application == d.application && o.heard == d.heard && slices.Equal(o.nodes, d.nodes) && d.at.Sub(o.at) < time.Minute {
			o.times++
			return
		}
	}
	s.twice = append(s.twice, d)
}

// running lists the nodes that have processes of each name.
func (s *Sentry) running() (map[string][]string, error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	nodes := map[string][]string{}
	machine := regexp.MustCompile(`[0-9a-f]{64}`) // the outermost container's id comes first
	for _, name := range names {
		text, err := os.ReadFile(name)
		process := strings.TrimSpace(string(text))
		if err != nil || !slices.ContainsFunc(s.guarded, func(g Guarded) bool { return g.Process == process }) {
			continue // it has ended, or is not ours
		}
		groups, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cgroup"))
		if err != nil {
			continue // it has ended
		}
		node, ours := s.machines[string(machine.Find(groups))]
		if ours && !slices.Contains(nodes[process], node) {
			nodes[process] = append(nodes[process], node)
		}
	}
	return nodes, nil
}

// Stop ends the looking.
func (s *Sentry) Stop() {
	s.cancel()
	<-s.done
}

// Violations returns, once, what no fault excuses: an application heard on two nodes at a time, or running on two, unless
// all but one of them are targets of moves that were handed over and taken back.
func (s *Sentry) Violations(moves []api.MoveInfo) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	seen, broken := s.twice, s.broken
	s.twice, s.broken = nil, nil
	if broken != nil {
		errs = append(errs, broken)
	}
	for _, d := range seen {
		owners := slices.DeleteFunc(slices.Clone(d.nodes), func(node string) bool { return scratch(d, node, moves) })
		switch {
		case d.heard:
			errs = append(errs, fmt.Errorf("from %s on, %d times: %s was heard on %v at once", d.at.Format(time.StampMilli), d.times+1, d.application, d.nodes))
		case len(owners) > 1:
			errs = append(errs, fmt.Errorf("from %s on, %d times: %s ran on %v at once", d.at.Format(time.StampMilli), d.times+1, d.application, d.nodes))
		}
	}
	return errs
}

// scratch says whether what ran on a node was what a move that was taken back had left there.
func scratch(d double, node string, moves []api.MoveInfo) bool {
	var tentative, owned time.Time // when the last of either began
	for _, m := range moves {
		if m.TargetName != node || m.HandedOverAt.IsZero() || m.HandedOverAt.After(d.at.Add(clockSlack)) || !slices.Contains(m.Applications, d.application) {
			continue
		}
		last := &owned
		if m.Phase == cluster.MoveTakenBack {
			last = &tentative
		}
		if m.HandedOverAt.After(*last) {
			*last = m.HandedOverAt
		}
	}
	return tentative.After(owned)
}
