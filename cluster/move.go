// SPDX-License-Identifier: Apache-2.0

package cluster

import "time"

// MovePhase is where a move stands. Phases follow each other as in MovePhase.Next.
type MovePhase string

// The phases of a move; aborted, taken-back and cleaned are terminal.
const (
	MovePlanned    MovePhase = "planned"
	MovePreparing  MovePhase = "preparing"
	MoveCopying    MovePhase = "copying"
	MoveCutting    MovePhase = "cutting"     // stored before anything is stopped
	MoveHandedOver MovePhase = "handed-over" // the datasets are tentative
	MoveCommitted  MovePhase = "committed"
	MoveCleaned    MovePhase = "cleaned"
	MoveAborted    MovePhase = "aborted"
	MoveTakenBack  MovePhase = "taken-back"
)

// Terminal says whether nothing follows the phase.
func (p MovePhase) Terminal() bool {
	return p == MoveCleaned || p == MoveAborted || p == MoveTakenBack
}

// BeforeHandOver says whether the source still owns what is moved.
func (p MovePhase) BeforeHandOver() bool {
	switch p {
	case MovePlanned, MovePreparing, MoveCopying, MoveCutting:
		return true
	case MoveHandedOver, MoveCommitted, MoveCleaned, MoveAborted, MoveTakenBack:
		return false
	}
	return false
}

// Known says whether this version knows the phase.
func (p MovePhase) Known() bool {
	return p.BeforeHandOver() || p == MoveHandedOver || p == MoveCommitted || p.Terminal()
}

// Follows says whether a move in phase p may go to phase q.
func (p MovePhase) Follows(q MovePhase) bool {
	switch p {
	case MovePlanned:
		return q == MovePreparing || q == MoveAborted
	case MovePreparing:
		return q == MoveCopying || q == MoveAborted
	case MoveCopying:
		return q == MoveCutting || q == MoveAborted
	case MoveCutting:
		return q == MoveHandedOver || q == MoveAborted
	case MoveHandedOver:
		return q == MoveCommitted || q == MoveTakenBack
	case MoveCommitted:
		return q == MoveCleaned
	case MoveCleaned, MoveAborted, MoveTakenBack:
		return false
	}
	return false
}

// MoveMode says what happens to the process.
type MoveMode string

// The modes of a move.
const (
	ModeRestart MoveMode = "restart" // stopped on the source, started on the target
	ModeLive    MoveMode = "live"    // the process moves with its memory and connections
	ModeAuto    MoveMode = "auto"
)

// Move takes applications and their datasets from one node to another.
type Move struct {
	ID MoveID `json:"id"`
	// Attempt grows with each abort that is retried; hand-over and abort of one attempt exclude each other.
	Attempt      int         `json:"attempt"`
	Phase        MovePhase   `json:"phase"`
	Mode         MoveMode    `json:"mode"`
	Source       NodeID      `json:"source"`
	Target       NodeID      `json:"target"`
	Datasets     []DatasetID `json:"datasets"`
	Applications []string    `json:"applications,omitempty"`
	Options      MoveOptions `json:"options"`
	// CancelRequested asks the source to abort; it has no effect from the hand-over on.
	CancelRequested bool      `json:"cancel_requested,omitempty"`
	By              string    `json:"by,omitempty"` // who asked
	Created         time.Time `json:"created,omitzero"`
	HandedOverAt    time.Time `json:"handed_over_at,omitzero"`
	Ended           time.Time `json:"ended,omitzero"`
	// Reason says why the move was aborted or taken back.
	Reason string      `json:"reason,omitempty"`
	Report *MoveReport `json:"report,omitempty"`
	// Revision is the store's revision of this record; the store sets it.
	Revision Revision `json:"revision,omitempty"`
}

// MoveOptions are what the user may choose.
type MoveOptions struct {
	// GapBudget is the longest last delta aimed at; copy rounds go on until one is predicted to fit. Default 100ms.
	GapBudget Duration `json:"gap_budget,omitempty"`
	// ReadyTimeout bounds the wait for readiness on the target. Default 60s.
	ReadyTimeout Duration `json:"ready_timeout,omitempty"`
	// Bandwidth limits the copy before the cut-over, in bytes per second; 0 is unlimited.
	Bandwidth int64 `json:"bandwidth,omitempty"`
	// MaxRounds bounds the copy rounds. Default 10.
	MaxRounds int `json:"max_rounds,omitempty"`
}

// MoveReport is what was measured; kept with the move.
type MoveReport struct {
	Phases []PhaseTime `json:"phases"`
	Bytes  int64       `json:"bytes"` // all rounds together
	Rounds int         `json:"rounds"`
	// Gap is from the hold to the notice of release, on the source's clock.
	Gap Duration `json:"gap,omitempty"`
	// PredictedGap is what preflight or the last prediction said.
	PredictedGap Duration `json:"predicted_gap,omitempty"`
	// Converged is false when rounds stopped shrinking before the budget was reached.
	Converged bool `json:"converged"`
}

// PhaseTime is one measured part of a move.
type PhaseTime struct {
	Name  string   `json:"name"`
	Start Duration `json:"start"` // since the move's start, the source's clock
	Took  Duration `json:"took"`
	Bytes int64    `json:"bytes,omitempty"`
	Node  NodeID   `json:"node,omitempty"` // who measured
	InGap bool     `json:"in_gap,omitempty"`
}

// MoveProgress is a running move's progress. It is kept apart from the Move, so that
// reporting it never disturbs a compare-and-swap.
type MoveProgress struct {
	Move   MoveID    `json:"move"`
	Step   string    `json:"step"` // e.g. "copy round 2"
	Done   int64     `json:"done"`
	Total  int64     `json:"total,omitempty"` // estimate; 0 is unknown
	Rate   int64     `json:"rate,omitempty"`  // bytes per second
	Round  int       `json:"round,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Detail string    `json:"detail,omitempty"`
}
