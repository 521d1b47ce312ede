// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is something that happens at one point of an otherwise quiet move from node1 to node2.
type Fault string

// The faults of the matrix.
const (
	SourceAgentDies   Fault = "the source's agent dies"
	TargetAgentDies   Fault = "the target's agent dies"
	BothAgentsDie     Fault = "both agents die"
	SourceReboots     Fault = "the source reboots"
	TargetReboots     Fault = "the target reboots"
	BothReboot        Fault = "both reboot"
	SessionsExpire    Fault = "all sessions expire"
	SourceHearsNobody Fault = "the source's function gets no answer"
	TargetHearsNobody Fault = "the target's function gets no answer"
	TargetUnready     Fault = "the application does not get ready"
	Cancelled         Fault = "someone cancels"
	SourceUnseen      Fault = "the source's back end cannot be looked at for a while"
	TargetUnseen      Fault = "the target's back end cannot be looked at for a while"
	SourceDiesUnseen  Fault = "the source's agent dies, and the next one cannot look at the back end for a while"
	TargetDiesUnseen  Fault = "the target's agent dies, and the next one cannot look at the back end for a while"
	DataKeptOpen      Fault = "a process on the source keeps the data open"
)

// Faults lists all of them.
func Faults() []Fault {
	return []Fault{
		DataKeptOpen, SourceAgentDies, TargetAgentDies, BothAgentsDie, SourceReboots, TargetReboots, BothReboot,
		SourceUnseen, TargetUnseen, SourceDiesUnseen, TargetDiesUnseen, SessionsExpire, SourceHearsNobody, TargetHearsNobody, TargetUnready, Cancelled,
	}
}

// Fate is what becomes of the requests that are under way at the fault.
type Fate string

// The fates of requests.
const (
	Arrive       Fate = "arrive"
	ArriveLate   Fate = "arrive only after everyone has recovered"
	ArriveUnread Fate = "arrive only after everyone has recovered, and the source has read nothing new until then"
	ArriveBoth   Fate = "arrive, and again after everyone has recovered"
	GetLost      Fate = "get lost"
)

// Fates lists all of them.
func Fates() []Fate { return []Fate{Arrive, ArriveLate, ArriveUnread, ArriveBoth, GetLost} }

// Strike runs a move for some events, lets the fault happen, lets everything recover with the requests' fate, and
// brings the cluster to rest. It says whether the move was still under way at the fault.
func Strike(o Options, events int, f Fault, fate Fate) (*World, bool) {
	w := begin(o)
	w.rest()
	w.Happen(Event{"write", func() { w.writeWhereHeard() }})
	w.Move("node2")
	for i := range events {
		list := slices.DeleteFunc(w.Work(), func(e Event) bool { return strings.HasPrefix(e.Name, "client") })
		if len(list) == 0 || len(w.wrong) > 0 {
			return w, false
		}
		w.Happen(list[0])
		if i%3 == 0 {
			w.Happen(Event{"write", func() { w.writeWhereHeard() }})
		}
	}
	kept := slices.Clone(w.post)
	w.strike(f)
	if fate != Arrive && fate != ArriveBoth {
		w.post = nil
	}
	w.Check()
	w.recover(fate == ArriveUnread)
	w.Happen(Event{"write", func() { w.writeWhereHeard() }})
	if fate != Arrive && fate != GetLost {
		w.post = append(kept, w.post...)
	}
	w.Settle()
	w.Happen(Event{"write", func() { w.writeWhereHeard() }})
	return w, true
}

// recover brings everyone back and lets them go on; a source that reads nothing new never comes to rest.
func (w *World) recover(unread bool) {
	if !unread {
		w.rest()
		return
	}
	w.Start()
	w.unread = true
	for range 10 {
		w.pass()
	}
	w.unread = false
}

func (w *World) writeWhereHeard() {
	for _, id := range w.ids() {
		if n := w.nodes[id]; n.heard(data) {
			w.scribble(n, true)
		} else if n.writes(data) {
			w.scribble(n, false)
		}
	}
}

func (w *World) strike(f Fault) {
	from, to := w.nodes["node1"], w.nodes["node2"]
	switch f {
	case SourceAgentDies:
		from.agent = nil
	case TargetAgentDies:
		to.agent = nil
	case BothAgentsDie:
		from.agent, to.agent = nil, nil
	case SourceReboots:
		from.reboot()
	case TargetReboots:
		to.reboot()
	case BothReboot:
		from.reboot()
		to.reboot()
	case SessionsExpire:
		for _, id := range w.ids() {
			w.store.expire(id)
		}
	case SourceHearsNobody:
		w.deaf(from)
	case TargetHearsNobody:
		w.deaf(to)
	case TargetUnready:
		w.unready = true
	case SourceUnseen:
		w.blind(from)
	case TargetUnseen:
		w.blind(to)
	case SourceDiesUnseen:
		from.agent = nil
		w.blind(from)
	case TargetDiesUnseen:
		to.agent = nil
		w.blind(to)
	case DataKeptOpen:
		from.lingers[data] = from.mounted[data]
	case Cancelled:
		if m := w.store.now.Applications[app].Move; m != "" {
			w.store.cancel(m)
		}
	}
}

// blind lets everything go on for a while in which a node's agent, the next one if need be, cannot look at its back end.
func (w *World) blind(n *node) {
	if n.dark = true; n.agent == nil {
		w.boot(n)
		w.connect(n)
	}
	for range 10 {
		w.pass()
	}
}

func (w *World) deaf(n *node) {
	for _, f := range n.agent.functions {
		if f.blocked(n) {
			w.timeOut(f)
		}
	}
}

// Describe is the cluster's state in a few lines, for messages.
func (w *World) Describe() string {
	var b strings.Builder
	for _, id := range w.ids() {
		fmt.Fprintf(&b, "%s: %+v %+v\n", id, w.nodes[id].disks, w.nodes[id].boxes)
	}
	return b.String() + strings.Join(w.standing(), "\n")
}
