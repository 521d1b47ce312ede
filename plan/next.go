// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// view is what one node knows when it plans: what should be, what it sees on itself, and who it is.
type view struct {
	desired cluster.Desired
	seen    cluster.Observed
	me      cluster.NodeID
}

func look(desired cluster.Desired, observed cluster.Observed) view {
	return view{desired: desired, seen: observed, me: observed.Node}
}

// Next returns the next step for each object of the observed node, at most one for
// each, moves first. Whatever it does not understand becomes a Wait with the reason.
func Next(desired cluster.Desired, observed cluster.Observed) []Step {
	v := look(desired, observed)
	if reason := v.blind(); reason != "" {
		return v.waitForAll(reason)
	}
	if v.fenced() {
		return v.standDown()
	}
	var steps []Step
	add := func(s Step) {
		if s != nil {
			steps = append(steps, s)
		}
	}
	for _, id := range sorted(desired.Moves) {
		add(v.move(id))
	}
	for _, id := range union(desired.Datasets, observed.Copies) {
		add(v.dataset(id))
	}
	for _, name := range union(desired.Applications, observed.Containers) {
		add(v.application(name))
	}
	return steps
}

// blind says why this node may not act on what it read: it is not everything, or
// it was read in another session or another boot.
func (v view) blind() string {
	switch {
	case v.me == "":
		return "this node does not know its own name yet"
	case !v.desired.Complete:
		return "the desired state has not been read completely yet"
	case v.seen.Session == "":
		return "this node has no session with the control service"
	case v.desired.Session != v.seen.Session:
		return "the desired state was read in another session"
	}
	n, ok := v.desired.Nodes[v.me]
	switch {
	case !ok:
		return fmt.Sprintf("node %s is not in the cluster", v.me)
	case n.BootID != v.seen.BootID:
		return "the control service knows this node in another boot"
	}
	return ""
}

// fenced says whether someone has declared this very boot of this node to be over.
func (v view) fenced() bool {
	f := v.desired.Nodes[v.me].Fence
	return f != nil && f.BootID == v.seen.BootID
}

// standDown stops what still serves on a node that was declared off, since another may serve in its place.
func (v view) standDown() []Step {
	var steps []Step
	by := v.desired.Nodes[v.me].Fence.By
	for _, name := range sorted(v.seen.Containers) {
		steps = append(steps, quiet(v.seen.Containers[name], name, "the node was fenced by "+by))
	}
	for _, id := range sorted(v.seen.Copies) {
		steps = append(steps, Wait{About: DatasetObject(id), Reason: "the node was fenced by " + by + "; it takes part again after its next boot"})
	}
	return steps
}

// waitForAll answers for every object this node has a part in.
func (v view) waitForAll(reason string) []Step {
	var steps []Step
	wait := func(object string) { steps = append(steps, Wait{About: object, Reason: reason}) }
	for _, id := range sorted(v.desired.Moves) {
		if m := v.desired.Moves[id]; !m.Phase.Terminal() && (m.Source == v.me || m.Target == v.me) {
			wait(MoveObject(id))
		}
	}
	for _, id := range union(v.desired.Datasets, v.seen.Copies) {
		if _, here := v.seen.Copies[id]; here || v.desired.Datasets[id].Owner == v.me {
			wait(DatasetObject(id))
		}
	}
	for _, name := range union(v.desired.Applications, v.seen.Containers) {
		if _, here := v.seen.Containers[name]; here || v.desired.Applications[name].Node == v.me {
			wait(ApplicationObject(name))
		}
	}
	return steps
}

// name is how a node is called in reasons.
func (v view) name(id cluster.NodeID) string {
	if n := v.desired.Nodes[id].Name; n != "" {
		return n
	}
	return string(id)
}

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func union[K ~string, A, B any](a map[K]A, b map[K]B) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}
