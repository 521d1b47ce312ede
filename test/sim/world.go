// SPDX-License-Identifier: Apache-2.0

// Package sim is a model of a whole cluster: nodes with their disks and processes,
// agents that plan and carry moves out, and a store whose requests arrive late, twice or never. It checks
// the laws of moves on the ground truth after every event. It does no I/O.
package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// Planner is plan.Next, or one with a bug planted.
type Planner func(cluster.Desired, cluster.Observed) []plan.Step

// Bugs are mistakes to plant, one at a time, to see that the laws notice each.
type Bugs struct {
	ReleaseUnproven     bool // the hand-over is sent without the proof of rule 3
	StopBeforeCutting   bool
	OpenBeforeCommit    bool
	TakeBackAfterCommit bool
	CommitAfterTakeBack bool
	HandOverUncompared  bool // the hand-over does not compare the phase
	KeepsReading        bool // an agent acts on what its predecessor had read
	KeepsVolume         bool // the source hands a volume of network storage over and stays attached
	RevertUnproven      bool // a head is given up that is not shown to be what was kept
	SharedVolumes       bool // the store attaches a volume to two machines at once
}

// World is the cluster with everything that is on its way.
type World struct {
	store   *store
	net     *shelf // nil where the nodes keep their data themselves
	nodes   map[cluster.NodeID]*node
	post    []message
	plan    Planner
	bugs    Bugs
	unready bool // the application does not get ready on any target
	unread  bool // the first node reads nothing new

	asked      int              // snapshots
	content    map[string][]int // of snapshots that were taken to be kept, by id
	written    int
	acked      map[cluster.DatasetID][]int // what clients were answered and nobody consented to lose
	failedOver bool
	sessions   int
	moves      int
	owners     map[string]cluster.NodeID // by dataset and epoch, over all history
	evictable  map[cluster.Eviction]bool // over all history
	wrong      []string
}

// The one application and its dataset.
const (
	app  = "db"
	data = cluster.DatasetID("d1")
)

// New returns a cluster of the named nodes in which one application is to run on the first.
func New(next Planner, bugs Bugs, network bool, names ...cluster.NodeID) *World {
	w := &World{
		store: newStore(), nodes: map[cluster.NodeID]*node{}, plan: next, bugs: bugs,
		acked: map[cluster.DatasetID][]int{}, owners: map[string]cluster.NodeID{},
		evictable: map[cluster.Eviction]bool{}, content: map[string][]int{},
	}
	w.store.loose = bugs
	if network {
		w.net = &shelf{volumes: map[cluster.DatasetID]volume{}, shutOut: map[cluster.NodeID]bool{}, shared: bugs.SharedVolumes}
	}
	for _, id := range names {
		w.nodes[id] = newNode(id)
	}
	w.store.write(func(d *cluster.Desired) {
		d.Datasets[data] = cluster.Dataset{ID: data, Name: "data", Owner: names[0], Epoch: 1}
		d.Applications[app] = cluster.Application{
			Name: app, Image: "db", Node: names[0], Restart: cluster.RestartPolicy{Name: cluster.RestartAlways},
			Volumes: []cluster.Volume{{Dataset: data, MountPoint: "/data"}},
		}
	})
	return w
}

// broken notes a law that does not hold.
func (w *World) broken(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// Wrong lists the laws broken so far.
func (w *World) Wrong() []string { return w.wrong }

func (w *World) ids() []cluster.NodeID { return slices.Sorted(maps.Keys(w.nodes)) }

// idle says whether the loop carries out nothing on what the move takes along.
func (w *World) idle(n *node, m cluster.Move) bool {
	for _, id := range m.Datasets {
		if _, busy := n.agent.pending[plan.DatasetObject(id)]; busy {
			return false
		}
	}
	for _, name := range m.Applications {
		if _, busy := n.agent.pending[plan.ApplicationObject(name)]; busy {
			return false
		}
	}
	return true
}

// boot starts an agent on a machine that has none: a session, and a full read in it.
func (w *World) boot(n *node) {
	n.agent = &agent{functions: map[cluster.MoveID]*function{}, pending: map[string]plan.Step{}, overdue: map[cluster.MoveID]bool{}, taken: map[cluster.SnapshotID]cluster.Snapshot{}}
	if w.bugs.KeepsReading {
		n.agent.desired, n.agent.session = n.last, n.last.Session
	}
}

// connect opens a session and reads everything, linearizably.
func (w *World) connect(n *node) {
	w.sessions++
	n.agent.session = fmt.Sprintf("session%d", w.sessions)
	w.store.open(n.id, n.agent.session, n.bootID())
	w.read(n, w.store.now.Revision)
}

// observe is what the agent's discovery finds.
func (w *World) observe(n *node) cluster.Observed { return w.look(n, n.dark) }

// look is what a look finds. In a back end that cannot be looked at it finds neither that something is there nor that it is not.
func (w *World) look(n *node, dark bool) cluster.Observed {
	o := n.observe()
	if w.net != nil {
		w.seen(n, &o)
	}
	if dark {
		o.Copies, o.Storage.Error = map[cluster.DatasetID]cluster.Copy{}, "no answer"
	}
	return o
}

// read moves the agent's desired state to a revision.
func (w *World) read(n *node, r cluster.Revision) {
	d := w.store.history[r]
	d.Session = n.agent.session
	n.agent.desired, n.last = d, d
	for id := range n.notes {
		if !d.Moves[id].Phase.BeforeHandOver() {
			delete(n.notes, id)
		}
	}
	for id, f := range n.agent.functions {
		if f.at == done && !f.waits && d.Revision >= f.latest.Revision {
			delete(n.agent.functions, id)
		}
	}
}

// round plans once; the decided steps are carried out one by one by later events.
func (w *World) round(n *node) {
	o := w.observe(n)
	for _, s := range w.plan(n.agent.desired, o) {
		if _, wait := s.(plan.Wait); wait {
			continue
		}
		if _, busy := n.agent.pending[s.Object()]; !busy {
			n.agent.pending[s.Object()] = s
		}
	}
}

// carryOut does a decided step.
func (w *World) carryOut(n *node, object string) {
	s := n.agent.pending[object]
	delete(n.agent.pending, object)
	d := n.agent.desired
	ask := func(id cluster.MoveID, t api.MoveTransition) {
		t.Attempt = d.Moves[id].Attempt
		w.send(message{from: n.id, agent: n.agent, move: id, what: string(t.Action), change: t})
	}
	switch s := s.(type) {
	case plan.RunMove:
		w.call(n, &function{at: toPreparing, latest: d.Moves[s.Move]})
	case plan.ResumeMove:
		w.call(n, &function{at: makeHead, target: true, latest: d.Moves[s.Move]})
	case plan.AbortMove:
		ask(s.Move, api.MoveTransition{Action: api.ActionAbort, Reason: s.Reason})
	case plan.TakeBackMove:
		ask(s.Move, api.MoveTransition{Action: api.ActionTakeBack, Reason: s.Reason})
	case plan.CleanMove:
		ask(s.Move, api.MoveTransition{Action: api.ActionClean})
	case plan.TakeSnapshot:
		w.take(n, s)
	case plan.Revert:
		w.revert(n, s)
	case plan.Attach:
		// The store's own work outlives who asked for it.
		w.send(message{from: n.id, agent: n.agent, what: "attach", volume: s.Dataset})
	case plan.CreateVolume, plan.MakeHead, plan.Detach, plan.Evict, plan.Mount, plan.Unmount, plan.DropHead, plan.DestroyCopy, plan.Resize, plan.PruneSnapshot,
		plan.TakeTogether, plan.CloneVolume, plan.CopyFiles, plan.CreateContainer, plan.StartContainer, plan.StopContainer, plan.RemoveContainer, plan.OpenGate, plan.CloseGate, plan.Wait:
		w.do(n, s, d)
	}
}

// call starts a function unless one runs. The target's takes its claim at once, when the loop is idle on what moves.
func (w *World) call(n *node, f *function) {
	if _, running := n.agent.functions[f.latest.ID]; running || f.target && !w.idle(n, f.latest) {
		return
	}
	f.claim, f.dark = f.target, n.dark
	n.agent.functions[f.latest.ID] = f
}

func (w *World) send(m message) { w.post = append(w.post, m) }

// deliver takes a message to where it goes; it may stay on its way and arrive again.
func (w *World) deliver(i int, again bool) {
	m := w.post[i]
	if !again {
		w.post = slices.Delete(slices.Clone(w.post), i, i+1)
	}
	switch {
	case m.to != "":
		w.deliverToPeer(m)
		return
	case m.volume != "":
		w.attach(w.nodes[m.from], m.volume)
		return
	case m.kept != "":
		before := w.store.now
		w.store.kept(m)
		w.checkTransition(before)
		return
	}
	before := w.store.now
	moved, err := w.store.transition(m.from, m.move, m.change)
	w.checkTransition(before)
	w.answer(m, moved, err)
}

// answer reaches the process that asked, if it still lives and waits.
func (w *World) answer(m message, moved cluster.Move, err error) {
	n := w.nodes[m.from]
	if n.agent == nil || n.agent != m.agent {
		return
	}
	if f := n.agent.functions[m.move]; f != nil && f.waits && f.reply == nil {
		f.reply = &reply{move: moved, err: err}
	}
}

var errRefused = errors.New("refused")

// deliverToPeer hands a request to another node's agent, which first reads as far as the sender had.
func (w *World) deliverToPeer(m message) {
	n := w.nodes[m.to]
	if !n.up || n.agent == nil || n.agent.session == "" {
		return
	}
	if n.agent.desired.Moves[m.move].ID == "" {
		w.answer(m, cluster.Move{}, errRefused)
		return
	}
	f := &function{at: makeHead, target: true, latest: m.carried, final: m.final}
	switch m.what {
	case "prepare":
		w.answer(m, m.carried, w.prepare(n, m))
	case "resume":
		f.learn(n.agent.desired.Moves[m.move])
		if f.latest.Phase == cluster.MoveHandedOver {
			w.call(n, f)
		}
	}
}

// prepare refuses a node that has a head of its own of what comes.
func (w *World) prepare(n *node, m message) error {
	d := plan.Advance(n.agent.desired, m.carried)
	for _, id := range m.carried.Datasets {
		if n.disks[id].head { // or has the volume, on network storage
			return errRefused
		}
	}
	for _, name := range m.carried.Applications {
		if s := (plan.CreateContainer{Application: name}); !plan.Permit(d, w.observe(n), s) || !w.do(n, s, d) {
			return errRefused
		}
	}
	return nil
}

// do carries a step out and checks what it may not do.
func (w *World) do(n *node, s plan.Step, d cluster.Desired) bool {
	w.checkStep(n, s)
	if w.net != nil {
		if done, handled := w.doAttached(n, s); handled {
			return done
		}
	}
	return n.do(s, d.Applications)
}
