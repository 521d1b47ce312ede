// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"

	"github.com/flocker-project/flocker/cluster"
)

// Advance returns the desired state with a move that is newer than what was read,
// and with what the transactions up to it have done to its datasets and applications.
// Who has been answered by the store, or told by the peer, need not wait for the watch.
func Advance(desired cluster.Desired, m cluster.Move) cluster.Desired {
	old, known := desired.Moves[m.ID]
	if !known || old.Revision >= m.Revision {
		return desired
	}
	desired.Moves = maps.Clone(desired.Moves)
	desired.Moves[m.ID] = m
	desired.Datasets = maps.Clone(desired.Datasets)
	desired.Applications = maps.Clone(desired.Applications)
	changes := ownerChanges(m.Phase) - ownerChanges(old.Phase)
	owner := m.Source
	if ownerChanges(m.Phase) == 1 {
		owner = m.Target
	}
	for _, id := range m.Datasets {
		if d, ok := desired.Datasets[id]; ok && d.Move == m.ID {
			d.Owner, d.Epoch = owner, d.Epoch+changes
			d.Move = mark(m)
			desired.Datasets[id] = d
		}
	}
	for _, name := range m.Applications {
		if a, ok := desired.Applications[name]; ok && a.Move == m.ID {
			a.Node, a.Move = owner, mark(m)
			desired.Applications[name] = a
		}
	}
	return desired
}

// ownerChanges counts how often a move in this phase has changed the owner.
func ownerChanges(p cluster.MovePhase) cluster.Epoch {
	switch p {
	case cluster.MoveHandedOver, cluster.MoveCommitted, cluster.MoveCleaned:
		return 1
	case cluster.MoveTakenBack:
		return 2
	case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveAborted:
	}
	return 0
}

// mark is what the move's objects carry: its name until it has ended.
func mark(m cluster.Move) cluster.MoveID {
	if m.Phase.Terminal() {
		return ""
	}
	return m.ID
}
