// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// standing is what an object's move leaves for the loop to do on this node.
type standing int

const (
	// ordinary: the move, if any, does not restrict this node; owner and placement decide.
	ordinary standing = iota
	// held: hands off, for a reason.
	held
	// disarmed: this node has handed the object over; whatever still runs is stopped, nothing starts.
	disarmed
	// prepared: this node is the target before the hand-over; what was made stays, closed and stopped.
	prepared
)

// stand says how the move with this id bears on this node, and why.
func (v view) stand(id cluster.MoveID) (standing, string) {
	if id == "" {
		return ordinary, ""
	}
	m, ok := v.desired.Moves[id]
	if !ok {
		return held, fmt.Sprintf("its move %s is not in the desired state", id)
	}
	if m.Phase.Terminal() {
		return held, fmt.Sprintf("its move %s has ended as %s and is still marked", id, m.Phase)
	}
	if problem := malformed(id, m); problem != "" {
		return held, problem
	}
	switch v.me {
	case m.Source:
		return v.standAsSource(m)
	case m.Target:
		return v.standAsTarget(m)
	}
	return ordinary, ""
}

func (v view) standAsSource(m cluster.Move) (standing, string) {
	switch {
	case v.seen.Claims[m.ID]:
		return held, fmt.Sprintf("move %s is cutting over", m.ID)
	case v.maybeSent(m):
		return held, fmt.Sprintf("the hand-over of move %s may have been sent; it is aborted before anything starts", m.ID)
	}
	switch m.Phase {
	case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCommitted:
		return ordinary, ""
	case cluster.MoveCutting:
		return held, fmt.Sprintf("move %s was cutting over; it is aborted before anything starts", m.ID)
	case cluster.MoveHandedOver:
		return disarmed, fmt.Sprintf("handed over to %s, which has not committed yet", v.name(m.Target))
	case cluster.MoveCleaned, cluster.MoveAborted, cluster.MoveTakenBack:
	}
	return held, fmt.Sprintf("move %s is %s", m.ID, m.Phase)
}

func (v view) standAsTarget(m cluster.Move) (standing, string) {
	switch {
	case v.seen.Claims[m.ID]:
		return held, fmt.Sprintf("move %s is resuming here", m.ID)
	case m.Phase.BeforeHandOver():
		return prepared, fmt.Sprintf("prepared for move %s from %s, which is %s", m.ID, v.name(m.Source), m.Phase)
	case m.Phase == cluster.MoveHandedOver:
		return held, fmt.Sprintf("move %s is to be resumed here", m.ID)
	}
	return ordinary, ""
}

// maybeSent says whether a hand-over of this attempt may still be on its way: the
// note is there and what was read does not show how it ended.
func (v view) maybeSent(m cluster.Move) bool {
	attempt, noted := v.seen.Noted[m.ID]
	return noted && m.Phase.BeforeHandOver() && attempt >= m.Attempt
}

// malformed says what this version does not understand of a move.
func malformed(id cluster.MoveID, m cluster.Move) string {
	switch {
	case m.ID != id:
		return fmt.Sprintf("move %s is recorded under the name %s", m.ID, id)
	case !m.Phase.Known():
		return fmt.Sprintf("move %s is in phase %q, which this version does not know", id, m.Phase)
	case !slices.Contains([]cluster.MoveMode{cluster.ModeRestart, cluster.ModeLive, cluster.ModeAuto}, m.Mode):
		return fmt.Sprintf("move %s has mode %q, which this version does not know", id, m.Mode)
	case m.Source == "" || m.Target == "" || m.Source == m.Target:
		return fmt.Sprintf("move %s does not say from where to where", id)
	}
	return ""
}
