// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// CreateMove plans a move of an application, with everything that shares a dataset with it.
func (s *Service) CreateMove(ctx context.Context, by string, r api.MoveRequest) (cluster.Move, error) {
	var m cluster.Move
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		m, err = s.planMove(ctx, d, by, r)
		return err
	})
	if err != nil {
		return cluster.Move{}, fmt.Errorf("move %s: %w", firstOf(r.Application, r.Dataset, "nothing"), err)
	}
	m.Revision = rev
	s.log.Info("move planned", "move", m.ID, "applications", m.Applications, "source", m.Source, "target", m.Target, "by", by)
	return m, nil
}

func (s *Service) planMove(ctx context.Context, d *draft, by string, r api.MoveRequest) (cluster.Move, error) {
	apps, sets, err := d.group(r.Application, r.Dataset)
	if err != nil {
		return cluster.Move{}, err
	}
	target, err := d.node(r.Node)
	if err != nil {
		return cluster.Move{}, err
	}
	return s.startMove(ctx, d, apps, sets, target, cluster.Move{Mode: r.Mode, Options: r.Options, By: by})
}

// group is everything that must move together: an application or a dataset, and all that is joined to it by shared datasets.
func (d *draft) group(application, dataset string) ([]string, []cluster.DatasetID, error) {
	apps, sets := map[string]bool{}, map[cluster.DatasetID]bool{}
	switch {
	case (application == "") == (dataset == ""):
		return nil, nil, fmt.Errorf("either an application or a dataset is to be named: %w", cluster.ErrInvalid)
	case application != "":
		a, err := d.application(application)
		if err != nil {
			return nil, nil, err
		}
		apps[a.Name] = true
	default:
		n, err := d.dataset(dataset)
		if err != nil {
			return nil, nil, err
		}
		sets[n.ID] = true
	}
	for grown := true; grown; {
		before := len(apps) + len(sets)
		for name := range apps {
			for _, id := range d.applications[name].DatasetIDs() {
				sets[id] = true
			}
		}
		for id := range sets {
			for _, a := range d.users(id) {
				apps[a.Name] = true
			}
		}
		grown = len(apps)+len(sets) > before
	}
	return sortedKeys(apps), sortedKeys(sets), nil
}

// startMove marks everything in the group as moving.
func (s *Service) startMove(ctx context.Context, d *draft, apps []string, sets []cluster.DatasetID, target cluster.Node, m cluster.Move) (cluster.Move, error) {
	source, err := d.movable(ctx, apps, sets)
	if err != nil {
		return m, err
	}
	if err := d.mayMoveBetween(source, target.ID); err != nil {
		return m, err
	}
	if m.Mode, err = modeOf(m.Mode); err != nil {
		return m, err
	}
	// The hand-over and its comparisons are one transaction with the move and one session beside the group.
	if n := len(apps) + len(sets) + 4; n > s.store.MaxOps() {
		return m, fmt.Errorf("%d applications and datasets share data, more than one hand-over holds (%d): %w", n-4, s.store.MaxOps()-4, cluster.ErrInvalid)
	}
	m.ID, m.Attempt, m.Phase = cluster.MoveID(uuid.NewString()), 1, cluster.MovePlanned
	m.Source, m.Target, m.Applications, m.Datasets, m.Created = source, target.ID, apps, sets, s.now()
	for _, name := range apps {
		a := d.applications[name]
		a.Move = m.ID
		if err := d.putApplication(a); err != nil {
			return m, err
		}
	}
	for _, id := range sets {
		n := d.datasets[id]
		if n.Rollback != nil {
			return m, fmt.Errorf("dataset %s is being rolled back; try again: %w", n.Name, cluster.ErrConflict)
		}
		if err := d.unheld(ctx, n); err != nil {
			return m, err
		}
		n.Move = m.ID
		if err := d.putDataset(n); err != nil {
			return m, err
		}
	}
	return m, store.Put(d.tx, store.Moves.Under(string(m.ID)), m)
}

// movable is the node on which the whole group is, if it may move at all.
func (d *draft) movable(ctx context.Context, apps []string, sets []cluster.DatasetID) (cluster.NodeID, error) {
	homes := map[cluster.NodeID]bool{}
	for _, name := range apps {
		a := d.applications[name]
		if a.Deleted {
			return "", fmt.Errorf("application %s shares its data and is being removed; try again: %w", name, cluster.ErrConflict)
		}
		if err := d.idle(ctx, "application "+name, a.Move); err != nil {
			return "", err
		}
		homes[a.Node] = true
	}
	for _, id := range sets {
		n := d.datasets[id]
		if n.Deleted {
			return "", fmt.Errorf("dataset %s is deleted: %w", n.Name, cluster.ErrConflict)
		}
		if n.ByFiles() && !n.Born {
			return "", fmt.Errorf("dataset %s is being copied from another back end; try again when it is whole: %w", n.Name, cluster.ErrConflict)
		}
		if err := d.idle(ctx, "dataset "+n.Name, n.Move); err != nil {
			return "", err
		}
		homes[n.Owner] = true
	}
	if len(homes) != 1 {
		return "", fmt.Errorf("its parts are on %d nodes: %w", len(homes), cluster.ErrConflict)
	}
	for home := range homes {
		return home, nil
	}
	return "", cluster.ErrNotFound
}

func (d *draft) mayMoveBetween(source, target cluster.NodeID) error {
	from, to := d.nodes[source], d.nodes[target]
	if source == target {
		return fmt.Errorf("it is on node %s already: %w", to.Name, cluster.ErrExists)
	}
	if _, alive := d.sessions[target]; !alive {
		return fmt.Errorf("node %s is not alive; start its agent, or choose another: %w", to.Name, cluster.ErrPrecondition)
	}
	if _, alive := d.sessions[source]; !alive {
		return fmt.Errorf("node %s, where it is, is not alive; start its agent, or, if the machine is off for good, fence it and fail over: %w",
			from.Name, cluster.ErrPrecondition)
	}
	return nil
}

func modeOf(m cluster.MoveMode) (cluster.MoveMode, error) {
	switch m {
	case "", cluster.ModeAuto, cluster.ModeRestart:
		return cluster.ModeRestart, nil
	case cluster.ModeLive:
		return "", &cluster.FieldError{Field: "mode", Problem: "live moves are not in this version; use restart"}
	}
	return "", &cluster.FieldError{Field: "mode", Problem: fmt.Sprintf("%q is unknown; use restart", m)}
}

// CancelMove ends a move before its hand-over. The source does it, so that
// nothing is left half done; where no agent can, it is ended here.
func (s *Service) CancelMove(ctx context.Context, by, ref string) (cluster.Move, error) {
	var m cluster.Move
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if m, err = findMove(ctx, tx, ref); err != nil {
			return err
		}
		if !m.Phase.BeforeHandOver() {
			return &api.MoveError{Move: m, Err: fmt.Errorf("it is %s: %w", m.Phase, cluster.ErrConflict)}
		}
		if m.CancelRequested {
			return nil
		}
		return s.cancel(ctx, tx, &m, "cancelled by "+by)
	})
	if err != nil {
		return cluster.Move{}, fmt.Errorf("cancel move %s: %w", ref, err)
	}
	m.Revision = max(m.Revision, rev)
	s.log.Info("move cancelled", "move", m.ID, "phase", m.Phase, "by", by)
	return m, nil
}

// cancel asks the source to abort, or aborts at once where no source is alive. An
// abort excludes the hand-over, whoever stores it, so that even a source that is only cut off stays right.
func (s *Service) cancel(ctx context.Context, tx *store.Tx, m *cluster.Move, reason string) error {
	_, err := store.Get(ctx, tx, store.Sessions.Under(string(m.Source)))
	if ignoreNotFound(err) != nil {
		return err
	}
	if err != nil {
		if err := s.enter(ctx, tx, m, cluster.MoveAborted, api.MoveTransition{Reason: reason}); err != nil {
			return err
		}
	} else {
		m.CancelRequested, m.Reason = true, reason
	}
	return store.Put(tx, store.Moves.Under(string(m.ID)), *m)
}

// cancelFor cancels the move that stands in the way of a deletion, or refuses once it is handed over.
func (s *Service) cancelFor(ctx context.Context, d *draft, what string, id cluster.MoveID, reason string) error {
	if id == "" {
		return nil
	}
	m, err := store.Get(ctx, d.tx, store.Moves.Under(string(id)))
	if err != nil {
		return err
	}
	if !m.Phase.BeforeHandOver() {
		return &api.MoveError{Move: m, Err: fmt.Errorf("%s is being moved (move %s is %s); try again when that has ended: %w", what, id, m.Phase, cluster.ErrConflict)}
	}
	if m.CancelRequested {
		return nil
	}
	m.CancelRequested, m.Reason = true, reason
	return store.Put(d.tx, store.Moves.Under(string(id)), m)
}

// findMove finds a move by UUID, or by a prefix of it.
func findMove(ctx context.Context, tx *store.Tx, ref string) (cluster.Move, error) {
	m, err := store.Get(ctx, tx, store.Moves.Under(ref))
	if !errors.Is(err, cluster.ErrNotFound) || len(ref) < 4 {
		return m, err
	}
	all, err := store.List(ctx, tx, store.Moves)
	if err != nil {
		return m, err
	}
	i := slices.IndexFunc(all, func(r store.Record[cluster.Move]) bool { return strings.HasPrefix(r.Name, ref) })
	if i < 0 {
		return m, fmt.Errorf("move %q: %w", ref, cluster.ErrNotFound)
	}
	return all[i].Value, nil
}

// TakeBackMove is an operator's decision not to wait for the target any longer.
func (s *Service) TakeBackMove(ctx context.Context, by, ref string) (cluster.Move, error) {
	var m cluster.Move
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if m, err = findMove(ctx, tx, ref); err != nil {
			return err
		}
		if m.Phase != cluster.MoveHandedOver {
			return &api.MoveError{Move: m, Err: fmt.Errorf("it is %s, not handed over: %w", m.Phase, cluster.ErrConflict)}
		}
		if err := s.enter(ctx, tx, &m, cluster.MoveTakenBack, api.MoveTransition{Reason: "taken back by " + by}); err != nil {
			return err
		}
		return store.Put(tx, store.Moves.Under(string(m.ID)), m)
	})
	if err != nil {
		return cluster.Move{}, fmt.Errorf("take move %s back: %w", ref, err)
	}
	m.Revision = rev
	s.log.Info("move taken back", "move", m.ID, "by", by)
	return m, nil
}
