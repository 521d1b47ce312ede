// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// move returns this node's next step for a move, nil where it has none.
func (v view) move(id cluster.MoveID) Step {
	m := v.desired.Moves[id]
	if m.Source != v.me && m.Target != v.me || m.Phase.Terminal() {
		return nil
	}
	if problem := malformed(id, m); problem != "" {
		return Wait{About: MoveObject(id), Reason: problem}
	}
	if problem := v.disagrees(m); problem != "" {
		return Wait{About: MoveObject(id), Reason: problem}
	}
	if _, running := v.seen.Claims[id]; running {
		return Wait{About: MoveObject(id), Reason: "it is being carried out"}
	}
	if reason := v.unknownAmong(m.Datasets); reason != "" {
		return Wait{About: MoveObject(id), Reason: reason}
	}
	if m.Source == v.me {
		return v.moveAway(m)
	}
	return v.moveHere(m)
}

// moveAway is the source's part. A move that was cutting over when its function
// ended is aborted, never gone on with: what was sent is not known.
func (v view) moveAway(m cluster.Move) Step {
	abort := func(reason string) Step { return AbortMove{Move: m.ID, Attempt: m.Attempt, Reason: reason} }
	_, targetKnown := v.desired.Nodes[m.Target]
	switch {
	case v.maybeSent(m):
		return abort("the agent of the source ended while the hand-over may have been on its way")
	case m.Phase == cluster.MoveCutting:
		return abort("the agent of the source ended during the cut-over")
	case m.Phase == cluster.MoveHandedOver:
		return v.awaitTarget(m)
	case m.Phase == cluster.MoveCommitted:
		return v.cleanUp(m)
	case m.CancelRequested:
		return abort("cancelled")
	case !targetKnown:
		return abort(fmt.Sprintf("node %s is not in the cluster", m.Target))
	case v.desired.Nodes[m.Target].Protocol > cluster.ProtocolVersion:
		return Wait{About: MoveObject(m.ID), Reason: fmt.Sprintf("%s speaks a newer protocol than this node", v.name(m.Target))}
	}
	return RunMove{Move: m.ID}
}

// awaitTarget waits for a target that can still commit, and takes the datasets back from one that is not heard.
// Either is safe at any time, since commit and take-back exclude each other.
func (v view) awaitTarget(m cluster.Move) Step {
	switch {
	case v.seen.Overdue[m.ID]:
		return TakeBackMove{Move: m.ID, Reason: fmt.Sprintf("%s did not get ready in time", v.name(m.Target))}
	case !v.desired.Nodes[m.Target].Alive():
		return TakeBackMove{Move: m.ID, Reason: fmt.Sprintf("%s is not alive", v.name(m.Target))}
	}
	return Wait{About: MoveObject(m.ID), Reason: fmt.Sprintf("waiting for %s to get ready and commit", v.name(m.Target))}
}

// cleanUp ends a committed move once nothing of it is left here but snapshots and what is divergent.
func (v view) cleanUp(m cluster.Move) Step {
	for _, name := range m.Applications {
		if _, here := v.seen.Containers[name]; here {
			return Wait{About: MoveObject(m.ID), Reason: fmt.Sprintf("the container of %s is being removed here", name)}
		}
	}
	for _, id := range m.Datasets {
		if c := v.seen.Copies[id]; c.Head && v.keep(c) == "" {
			return Wait{About: MoveObject(m.ID), Reason: fmt.Sprintf("the head of dataset %s is being removed here", id)}
		}
	}
	return CleanMove{Move: m.ID}
}

// moveHere is the target's part.
func (v view) moveHere(m cluster.Move) Step {
	switch {
	case m.Phase == cluster.MoveHandedOver:
		return ResumeMove{Move: m.ID}
	case m.Phase == cluster.MoveCommitted && !v.desired.Nodes[m.Source].Alive() && v.serves(m):
		return CleanMove{Move: m.ID}
	}
	return nil
}

// serves says whether everything the move brought here runs here for all to see. A source that is not heard
// finds what it has to remove without the move's record.
func (v view) serves(m cluster.Move) bool {
	for _, id := range m.Datasets {
		if v.unusable(id) != "" {
			return false
		}
	}
	for _, name := range m.Applications {
		if k := v.seen.Containers[name]; k.State != cluster.ContainerRunning || !k.GateOpen {
			return false
		}
	}
	return true
}

// disagrees says where a move and the objects it names contradict each other.
func (v view) disagrees(m cluster.Move) string {
	owner := owns(m)
	for _, id := range m.Datasets {
		d, ok := v.desired.Datasets[id]
		switch {
		case !ok:
			return fmt.Sprintf("dataset %s of the move is not in the desired state", id)
		case d.Move != m.ID:
			return fmt.Sprintf("dataset %s of the move does not name it", id)
		case d.Owner != owner:
			return fmt.Sprintf("dataset %s of the move is owned by %s, not by %s", id, v.name(d.Owner), v.name(owner))
		}
	}
	for _, name := range m.Applications {
		a, ok := v.desired.Applications[name]
		switch {
		case !ok:
			return fmt.Sprintf("application %s of the move is not in the desired state", name)
		case a.Move != m.ID:
			return fmt.Sprintf("application %s of the move does not name it", name)
		case a.Node != owner:
			return fmt.Sprintf("application %s of the move is on %s, not on %s", name, v.name(a.Node), v.name(owner))
		}
	}
	return ""
}

// owns says who has what an active move takes along.
func owns(m cluster.Move) cluster.NodeID {
	if m.Phase.BeforeHandOver() {
		return m.Source
	}
	return m.Target
}

// misplaced says whether something is on another node than its active move has it.
func (v view) misplaced(move cluster.MoveID, at cluster.NodeID) bool {
	m, ok := v.desired.Moves[move]
	return ok && malformed(move, m) == "" && !m.Phase.Terminal() && owns(m) != at
}

// listed says whether the dataset's active move, if any, names it too.
func (v view) listed(id cluster.DatasetID, move cluster.MoveID) bool {
	return move == "" || slices.Contains(v.desired.Moves[move].Datasets, id)
}
