// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// linesEvery is how often a line tells a copy's progress where no bar can.
const linesEvery = 5 * time.Second

// follower is bars on a terminal, plain lines elsewhere, and with --json a document for each change.
func (p printer) follower() follower {
	switch {
	case p.json:
		return &documents{p: p}
	case p.terminal:
		return newBars(mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(36)))
	}
	return &plainLines{p: p, last: map[cluster.MoveID]told{}}
}

// documents are one JSON document a line.
type documents struct {
	mu sync.Mutex
	p  printer
}

func (d *documents) update(m api.MoveInfo) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.p.line(m, "")
}

func (d *documents) note(text string) error {
	d.p.log.Warn(text) //nolint:sloglint // a sentence for a person
	return nil
}

func (d *documents) end() {}

// plainLines tells each new phase or step once, and a copy's progress from time to time.
type plainLines struct {
	mu   sync.Mutex
	p    printer
	last map[cluster.MoveID]told
}

type told struct {
	doing, waiting string
	at             time.Time
}

func (l *plainLines) update(m api.MoveInfo) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, before := told{doing(m), because(m.Waiting), time.Now()}, l.last[m.ID]
	if now.doing == before.doing && now.waiting == before.waiting && now.at.Sub(before.at) < linesEvery {
		return nil
	}
	amount := ""
	if m.Progress != nil && m.Phase.BeforeHandOver() {
		amount = copied(*m.Progress)
	}
	if now.doing == before.doing && now.waiting == before.waiting && amount == "" {
		return nil
	}
	l.last[m.ID] = now
	return l.p.say("%s to %s: %s%s%s", moved(m), m.TargetName, now.doing, amount, now.waiting)
}

func (l *plainLines) note(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.p.say("%s", text)
}

func (l *plainLines) end() {}

// copied is how much of a step is done, how fast, and for how much longer.
func copied(g cluster.MoveProgress) string {
	if g.Done == 0 {
		return ""
	}
	text := ": " + cluster.FormatSize(g.Done)
	if g.Total > 0 {
		text += " of " + cluster.FormatSize(g.Total)
	}
	if g.Rate > 0 {
		text += ", " + cluster.FormatSize(g.Rate) + "/s"
		if left := remaining(g); left > 0 {
			text += ", " + took(left) + " left"
		}
	}
	return text
}

func remaining(g cluster.MoveProgress) time.Duration {
	if g.Rate <= 0 || g.Total <= g.Done {
		return 0
	}
	return time.Duration(float64(g.Total-g.Done) / float64(g.Rate) * float64(time.Second))
}

// bars are a terminal's progress bars, one a move.
type bars struct {
	mu  sync.Mutex
	all *mpb.Progress
	of  map[cluster.MoveID]*bar
}

func newBars(all *mpb.Progress) *bars {
	return &bars{all: all, of: map[cluster.MoveID]*bar{}}
}

// bar is one move's, with what it shows now.
type bar struct {
	*mpb.Bar
	mu  sync.Mutex
	now api.MoveInfo
}

func (b *bar) shows() api.MoveInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (s *bars) update(m api.MoveInfo) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.of[m.ID]
	if b == nil {
		b = s.add(m)
		s.of[m.ID] = b
	}
	b.mu.Lock()
	b.now = m
	b.mu.Unlock()
	switch g := m.Progress; {
	case m.Phase.Terminal():
		b.SetTotal(-1, true)
	case g != nil && m.Phase.BeforeHandOver():
		b.SetTotal(max(g.Total, g.Done), false)
		b.SetCurrent(g.Done)
	}
	return nil
}

func (s *bars) add(m api.MoveInfo) *bar {
	b := &bar{now: m}
	b.Bar = s.all.AddBar(0, // a total that is known from the beginning could not change
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			now := b.shows()
			return fmt.Sprintf("%s to %s  %-16s", moved(now), now.TargetName, doing(now))
		}, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			now := b.shows()
			if now.Progress == nil || !now.Phase.BeforeHandOver() {
				return because(now.Waiting)
			}
			return strings.TrimPrefix(copied(*now.Progress), ": ") + because(now.Waiting)
		})))
	return b
}

func (s *bars) note(text string) error {
	_, err := fmt.Fprintln(s.all, text)
	return err
}

func (s *bars) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.of {
		if !b.Completed() {
			b.Abort(false)
		}
	}
	s.all.Wait()
}
