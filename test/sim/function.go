// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// stage is where a move's function stands; one event takes it one stage further.
type stage string

const (
	toPreparing stage = "to-preparing"
	askPrepare  stage = "ask-prepare"
	toCopying   stage = "to-copying"
	copyRound   stage = "copy"
	claimed     stage = "claim"
	toCutting   stage = "to-cutting"
	hide        stage = "hide"
	stop        stage = "stop"
	lastDelta   stage = "last-delta"
	release     stage = "release"
	note        stage = "note"
	handOver    stage = "hand-over"
	askResume   stage = "ask-resume"
	takeBack    stage = "take-back"
	abort       stage = "abort"
	discard     stage = "discard"
	clean       stage = "clean"

	makeHead stage = "make-head"
	start    stage = "start"
	commit   stage = "commit"
	settle   stage = "settle"
	expose   stage = "expose"
	done     stage = "done"
)

// function is one end's straight part of a move, as a process has it in memory.
type function struct {
	at     stage
	target bool
	dark   bool         // what it stands on was seen without the back end
	claim  bool         // from here on the loop keeps its hands off
	latest cluster.Move // the newest it knows of the move
	waits  bool         // an answer is awaited
	reply  *reply
	final  map[cluster.DatasetID]string
}

type reply struct {
	move cluster.Move
	err  error
}

// knows is the desired state with what the function has learned by itself.
func (f *function) knows(n *node) cluster.Desired { return plan.Advance(n.agent.desired, f.latest) }

// permitted carries a step out where plan permits it.
func (w *World) permitted(n *node, f *function, s plan.Step) bool {
	d := f.knows(n)
	if !plan.Permit(d, w.look(n, f.dark), s) {
		return false
	}
	return w.do(n, s, d)
}

// advance takes the function one stage further.
func (w *World) advance(n *node, f *function) {
	f.learn(n.agent.desired.Moves[f.latest.ID])
	if f.waits {
		f.waits = false
		if f.reply != nil {
			f.learn(f.reply.move)
		}
	}
	if f.target {
		w.resume(n, f)
	} else {
		w.source(n, f)
	}
	f.reply = nil
}

// blocked says whether the function waits for an answer; for the target's it may also learn from the store.
func (f *function) blocked(n *node) bool {
	told := f.at == takeBack && !f.target && n.agent.desired.Moves[f.latest.ID].Phase != cluster.MoveHandedOver &&
		n.agent.desired.Revision > f.latest.Revision
	return f.waits && f.reply == nil && !told
}

func (f *function) learn(m cluster.Move) {
	if m.Revision > f.latest.Revision {
		f.latest = m
	}
}

// ask sends a transition and goes to the next stage, which looks at the answer.
func (w *World) ask(n *node, f *function, next stage, t api.MoveTransition) {
	t.Attempt = f.latest.Attempt
	f.at, f.waits, f.reply = next, true, nil
	w.send(message{from: n.id, agent: n.agent, move: f.latest.ID, what: string(t.Action), change: t})
}

func (w *World) source(n *node, f *function) {
	failed := f.reply != nil && f.reply.err != nil
	m := f.latest
	if m.Phase.Terminal() && f.at != done {
		f.at = done
		return
	}
	switch f.at {
	case toPreparing:
		if m.Phase != cluster.MovePlanned {
			f.at = askPrepare
			return
		}
		w.ask(n, f, askPrepare, api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MovePreparing, Revision: m.Revision})
	case askPrepare:
		if failed {
			f.at = done
			return
		}
		f.at, f.waits = toCopying, true
		w.send(message{from: n.id, to: m.Target, agent: n.agent, move: m.ID, what: "prepare", carried: f.latest})
	case toCopying:
		switch {
		case failed:
			f.at = abort
		case m.Phase == cluster.MoveCopying:
			f.at = copyRound
		default:
			w.ask(n, f, copyRound, api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MoveCopying, Revision: m.Revision})
		}
	case copyRound:
		if failed || !w.ship(n, f, false) {
			f.at = abort
			return
		}
		f.at = claimed
	case claimed:
		if !w.idle(n, m) {
			return // the loop's steps on what moves end first
		}
		f.claim = true
		f.at = toCutting
	case toCutting:
		if w.bugs.StopBeforeCutting {
			w.do(n, plan.StopContainer{Application: m.Applications[0]}, n.agent.desired)
		}
		w.ask(n, f, hide, api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MoveCutting, Revision: m.Revision})
	default:
		w.cutOver(n, f, failed)
	}
}

// cutOver is the part between the stored phase cutting and the hand-over. Its order is the protocol.
func (w *World) cutOver(n *node, f *function, failed bool) {
	m := f.latest
	each := func(next stage, do func() bool) {
		if failed || m.CancelRequested || !do() {
			f.at = abort
			return
		}
		f.at = next
	}
	switch f.at {
	case hide:
		each(stop, func() bool { return w.permitted(n, f, plan.CloseGate{Application: m.Applications[0]}) })
	case stop:
		each(lastDelta, func() bool { return w.permitted(n, f, plan.StopContainer{Application: m.Applications[0]}) })
	case lastDelta:
		each(release, func() bool { return w.ship(n, f, true) })
	case release:
		each(note, func() bool { return w.bugs.ReleaseUnproven || w.released(n, f) && w.giveAway(n, f) })
	case note:
		each(handOver, func() bool {
			n.notes[m.ID] = m.Attempt
			return true
		})
	case handOver:
		epochs := map[cluster.DatasetID]cluster.Epoch{}
		for _, id := range m.Datasets {
			epochs[id] = n.agent.desired.Datasets[id].Epoch
		}
		w.ask(n, f, askResume, api.MoveTransition{Action: api.ActionHandOver, Revision: m.Revision, Released: epochs})
	default:
		w.after(n, f, failed)
	}
}

// after is the part from the hand-over on, and every way out.
func (w *World) after(n *node, f *function, failed bool) {
	m := f.latest
	switch f.at {
	case askResume:
		if failed {
			f.at = abort
			return
		}
		f.at, f.waits = takeBack, true
		w.send(message{from: n.id, to: m.Target, agent: n.agent, move: m.ID, what: "resume", carried: m, final: f.final})
	case takeBack:
		switch m.Phase {
		case cluster.MoveCommitted:
			f.at = discard
		case cluster.MoveTakenBack, cluster.MoveCleaned:
			f.at = done
		default:
			w.ask(n, f, takeBack, api.MoveTransition{Action: api.ActionTakeBack, Reason: "not ready in time"})
		}
	case abort:
		switch m.Phase {
		case cluster.MoveHandedOver:
			f.at = askResume
		case cluster.MoveAborted, cluster.MoveTakenBack, cluster.MoveCleaned:
			f.at = done
		case cluster.MoveCommitted:
			f.at = discard
		default:
			w.ask(n, f, abort, api.MoveTransition{Action: api.ActionAbort, Reason: "failed"})
		}
	case discard:
		for _, name := range m.Applications {
			w.permitted(n, f, plan.RemoveContainer{Application: name})
		}
		for _, id := range m.Datasets {
			w.permitted(n, f, plan.DropHead{Dataset: id})
		}
		f.at = clean
	case clean:
		w.ask(n, f, done, api.MoveTransition{Action: api.ActionClean})
	default: // done
	}
}

// timeOut is what a function does when no answer comes: what it asked for may still happen.
func (w *World) timeOut(f *function) {
	f.waits, f.reply = false, nil
	switch f.at {
	case askPrepare, copyRound, done:
		f.at = done // the loop looks at the move again
	case toCopying, hide, askResume, abort:
		f.at = abort
	case settle:
		f.at = commit
	default: // asked again
	}
}

// ship sends a snapshot of each dataset to the target; the last only after everything has stopped.
func (w *World) ship(n *node, f *function, last bool) bool {
	if w.net != nil {
		return !last || w.putDown(n, f)
	}
	to := w.nodes[f.latest.Target]
	f.final = map[cluster.DatasetID]string{}
	for _, id := range f.latest.Datasets {
		if !to.up || to.agent == nil || n.disks[id].epoch != n.agent.desired.Datasets[id].Epoch {
			return false
		}
		if !last {
			w.sendKept(n, to, id)
		}
		s, ok := n.snapshot(id)
		if !ok || last && !w.receive(n, to, id, s, false) || !last && !w.receive(n, to, id, s, true) {
			return false
		}
		if last && !w.permitted(n, f, plan.Unmount{Dataset: id}) {
			return false
		}
		f.final[id] = s.Name
	}
	return true
}

// receive adds a snapshot to the target's copy, in full where there is no common base and that is allowed.
func (w *World) receive(n, to *node, id cluster.DatasetID, s snap, full bool) bool {
	d := to.disks[id]
	common := slices.ContainsFunc(n.disks[id].snaps, func(mine snap) bool {
		return slices.ContainsFunc(d.snaps, func(o snap) bool {
			if o.ID == mine.ID && !slices.Equal(o.data, mine.data) {
				w.broken("I11: base %s differs between %s and %s", o.ID, n.id, to.id)
			}
			return o.ID == mine.ID
		})
	})
	if !common && !full {
		return false
	}
	d.snaps = append(slices.Clone(d.snaps), s)
	to.disks[id] = d
	return true
}

// released proves that nothing here can write any more, and that all there is was sent.
func (w *World) released(n *node, f *function) bool {
	for _, id := range f.latest.Datasets {
		d := n.disks[id]
		if n.writes(id) || n.mounted[id] || w.net == nil && !slices.Equal(d.data, d.snaps[len(d.snaps)-1].data) {
			return false
		}
	}
	return true
}

// resume is the target's part.
func (w *World) resume(n *node, f *function) {
	m := f.latest
	if f.at != done && f.at != expose && m.Phase != cluster.MoveHandedOver && m.Phase != cluster.MoveCommitted {
		f.at = done // taken back: the loop clears away
		return
	}
	switch f.at {
	case makeHead:
		if m.Phase == cluster.MoveCommitted {
			f.at = expose
			return
		}
		f.at = start
		for _, id := range m.Datasets {
			if w.net == nil && !w.head(n, f, id) || w.net != nil && !w.pickUp(n, f, id) {
				f.at = takeBack
			}
		}
	case start:
		f.at = commit
		a := n.agent.desired.Applications[m.Applications[0]]
		if !w.do(n, plan.CreateContainer{Application: a.Name}, n.agent.desired) || !w.permitted(n, f, plan.StartContainer{Application: a.Name}) {
			f.at = takeBack
		}
		if w.bugs.OpenBeforeCommit {
			n.gate(a.Name, true)
		}
	case commit:
		if w.unready {
			f.at = takeBack
			return
		}
		w.ask(n, f, settle, api.MoveTransition{Action: api.ActionCommit})
	case settle:
		f.at = done
		if m.Phase == cluster.MoveCommitted {
			f.at = expose
		}
	case takeBack:
		if w.net != nil { // the source waits for the volume
			w.permitted(n, f, plan.StopContainer{Application: m.Applications[0]})
			if w.putDown(n, f) {
				w.giveAway(n, f)
			}
		}
		w.ask(n, f, settle, api.MoveTransition{Action: api.ActionTakeBack, Reason: "not ready"})
	case expose:
		for _, id := range m.Datasets {
			w.permitted(n, f, plan.Mount{Dataset: id, Epoch: n.disks[id].epoch})
		}
		w.permitted(n, f, plan.OpenGate{Application: m.Applications[0]})
		f.at = done
	default: // done
	}
}

// head makes the scratch head of the last snapshot, in the place of an earlier try's.
func (w *World) head(n *node, f *function, id cluster.DatasetID) bool {
	d := f.knows(n).Datasets[id]
	if n.disks[id].head && !n.mounted[id] && !w.permitted(n, f, plan.DropHead{Dataset: id}) {
		return false
	}
	last := f.final[id]
	for _, s := range n.disks[id].snaps {
		if f.final == nil && s.Epoch == d.Epoch-1 {
			last = s.Name
		}
	}
	if !n.disks[id].head && !w.permitted(n, f, plan.MakeHead{Dataset: id, Snapshot: last, Epoch: d.Epoch, Scratch: f.latest.ID}) {
		return false
	}
	return n.disks[id].scratch == f.latest.ID && n.mount(id)
}
