// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"slices"
)

// Course is a sequence of events by name. It is replayed by name too: one that cannot happen is left out.
type Course []string

// Options say how a course goes.
type Options struct {
	Plan    Planner
	Bugs    Bugs
	Network bool // network storage: one volume, attached where it is used
	Length  int
	Trouble float64 // the share of events that are faults
}

// Wander lets events happen at random, then brings the cluster to rest. It returns what happened and the world as it ended.
func Wander(o Options, r *rand.Rand) (Course, *World) {
	w := begin(o)
	var c Course
	for range o.Length {
		list := w.Work()
		switch x := r.Float64(); {
		case x < 0.02 && (r.IntN(8) == 0 || w.calm()):
			list = w.Wishes()
		case x > 1-o.Trouble:
			list = w.Trouble()
		}
		if len(list) == 0 {
			list = w.Trouble()
		}
		e := list[r.IntN(len(list))]
		c = append(c, e.Name)
		w.Happen(e)
		if len(w.wrong) > 0 {
			return c, w
		}
	}
	w.Settle()
	return c, w
}

func begin(o Options) *World {
	w := New(o.Plan, o.Bugs, o.Network, "node1", "node2", "node3")
	w.Start()
	return w
}

// Replay lets the events of a course happen again and brings the cluster to rest.
func Replay(o Options, c Course) *World {
	w := begin(o)
	for _, name := range c {
		all := slices.Concat(w.Work(), w.Wishes(), w.Trouble())
		if i := slices.IndexFunc(all, func(e Event) bool { return e.Name == name }); i >= 0 {
			w.Happen(all[i])
		}
		if len(w.wrong) > 0 {
			return w
		}
	}
	w.Settle()
	return w
}

// Shorten leaves out what a failing course does not need in order to fail.
func Shorten(o Options, c Course) Course {
	fails := func(c Course) bool { return len(Replay(o, c).wrong) > 0 }
	if !fails(c) {
		return c
	}
	for size := len(c) / 2; size > 0; {
		shorter := false
		for i := 0; i+size <= len(c); {
			if try := slices.Delete(slices.Clone(c), i, i+size); fails(try) {
				c, shorter = try, true
			} else {
				i += size
			}
		}
		if !shorter {
			size /= 2
		}
	}
	return c
}

// calm says whether no move is under way.
func (w *World) calm() bool { return w.store.now.Applications[app].Move == "" }
