// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// snapshotTime is the name of a snapshot that was given none.
const snapshotTime = "20060102-150405.000"

// CreateSnapshots asks for a snapshot of a dataset, or of each dataset of an application at one instant; owners take them. A request
// with the id of an earlier one is answered with what that one asked for.
func (s *Service) CreateSnapshots(ctx context.Context, by string, r api.SnapshotRequest) ([]api.SnapshotInfo, error) {
	what := fmt.Sprintf("snapshot %s of %s", firstOf(r.Name, "without a name"), firstOf(r.Dataset, r.Application, "nothing"))
	if err := s.completeSnapshot(&r); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	made := false
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		sets, err := d.snapshotted(ctx, r)
		if err != nil || slices.ContainsFunc(sets, func(n cluster.Dataset) bool { return slices.ContainsFunc(n.Snapshots, asked(r.ID)) }) {
			return err
		}
		made = true
		for _, n := range sets {
			k := cluster.KeptSnapshot{ID: r.ID, Name: r.Name, By: by, Asked: s.now(), Quiesce: r.Quiesce}
			if r.Application != "" {
				k.ID, k.Application, k.Group = cluster.SnapshotID(uuid.NewString()), r.Application, string(r.ID)
			}
			if err := d.keep(ctx, n, k); err != nil {
				return fmt.Errorf("dataset %s: %w", n.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if made {
		s.log.Info("snapshot asked for", "snapshot", r.Name, "id", r.ID, "dataset", r.Dataset, "application", r.Application, "by", by)
	}
	w, err := readWorld(ctx, s.store)
	return w.snapshotInfos(func(k cluster.KeptSnapshot, _ cluster.Dataset) bool { return asked(r.ID)(k) }), err
}

// asked finds the snapshots of one request.
func asked(id cluster.SnapshotID) func(cluster.KeptSnapshot) bool {
	return func(k cluster.KeptSnapshot) bool { return k.ID == id || k.Group == string(id) }
}

// completeSnapshot checks a request as a value, and makes up what it leaves open.
func (s *Service) completeSnapshot(r *api.SnapshotRequest) error {
	if (r.Application == "") == (r.Dataset == "") {
		return fmt.Errorf("either an application or a dataset is to be named: %w", cluster.ErrInvalid)
	}
	if r.Name == "" {
		r.Name = s.now().Format(snapshotTime)
	}
	if r.ID == "" {
		r.ID = cluster.SnapshotID(uuid.NewString())
	}
	return errors.Join(cluster.ValidateSnapshotName(r.Name), cluster.ValidateSnapshotID(r.ID))
}

// snapshotted are the datasets that a request is about.
func (d *draft) snapshotted(ctx context.Context, r api.SnapshotRequest) ([]cluster.Dataset, error) {
	if r.Dataset != "" {
		n, err := d.dataset(r.Dataset)
		return []cluster.Dataset{n}, err
	}
	a, err := d.application(r.Application)
	if err != nil {
		return nil, err
	}
	if err := d.idle(ctx, "it", a.Move); err != nil {
		return nil, err
	}
	return d.together(a)
}

// together are the datasets of an application, of which it can have snapshots of one instant.
func (d *draft) together(a cluster.Application) ([]cluster.Dataset, error) {
	var sets []cluster.Dataset
	for _, id := range a.DatasetIDs() {
		n := d.datasets[id]
		for _, other := range d.users(id) {
			if other.Name != a.Name && writes(other, id) {
				return nil, fmt.Errorf("dataset %s is also written by application %s, which would not be paused; take a snapshot of that: %w",
					n.Name, other.Name, cluster.ErrConflict)
			}
		}
		sets = append(sets, n)
	}
	if len(sets) == 0 {
		return nil, fmt.Errorf("it has no datasets: %w", cluster.ErrPrecondition)
	}
	return sets, nil
}

// keep asks the owner of a dataset for a snapshot.
func (d *draft) keep(ctx context.Context, n cluster.Dataset, k cluster.KeptSnapshot) error {
	if n.Deleted {
		return fmt.Errorf("it is deleted: %w", cluster.ErrConflict)
	}
	if err := d.idle(ctx, "it", n.Move); err != nil {
		return err
	}
	if i := slices.IndexFunc(n.Snapshots, called(k.Name)); i >= 0 {
		return fmt.Errorf("a snapshot %q was asked for at %s: %w", k.Name, n.Snapshots[i].Asked.Format("2006-01-02 15:04:05 MST"), cluster.ErrExists)
	}
	if len(n.Snapshots) >= cluster.MostSnapshots {
		return fmt.Errorf("it has %d snapshots, the most there can be; remove some: %w", len(n.Snapshots), cluster.ErrConflict)
	}
	storage, _, err := d.stored(ctx, n)
	owner := d.nodes[n.Owner].Name
	switch {
	case err != nil:
		return err
	case storage.Backend == "":
		return fmt.Errorf("its owner, node %s, has not told yet what its storage can do; try again: %w", owner, cluster.ErrPrecondition)
	case !storage.Capabilities.Snapshots:
		return fmt.Errorf("the storage %s of its owner, node %s, takes no snapshots%s: %w", storage.Backend, owner, because(storage), cluster.ErrPrecondition)
	}
	return d.putDataset(n.WithSnapshot(k))
}

// because is why storage takes no snapshots, where another of its kind may.
func because(s cluster.Storage) string {
	if why := s.Capabilities.NoSnapshots; why != "" {
		return " (" + why + ")"
	}
	return ""
}

// called finds a snapshot by name, among those that are not being removed.
func called(name string) func(cluster.KeptSnapshot) bool {
	return func(k cluster.KeptSnapshot) bool { return k.Name == name && !k.Removed }
}

// findKept finds a snapshot by name or UUID.
func findKept(n cluster.Dataset, ref string) (cluster.KeptSnapshot, error) {
	if i := slices.IndexFunc(n.Snapshots, called(ref)); i >= 0 {
		return n.Snapshots[i], nil
	}
	if k, ok := n.Kept(cluster.SnapshotID(ref)); ok {
		return k, nil
	}
	return cluster.KeptSnapshot{}, fmt.Errorf("snapshot %q of dataset %s: %w", ref, n.Name, cluster.ErrNotFound)
}

// DeleteSnapshot lets a snapshot go. Storage keeps it as long as it is the base of a replica.
func (s *Service) DeleteSnapshot(ctx context.Context, by, ref, snapshot string) (api.SnapshotInfo, error) {
	var n cluster.Dataset
	var k cluster.KeptSnapshot
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		if n, err = d.dataset(ref); err != nil {
			return err
		}
		if k, err = findKept(n, snapshot); err != nil || k.Removed {
			return err
		}
		k, err = d.letGo(ctx, n, k)
		return err
	})
	if err != nil {
		return api.SnapshotInfo{}, fmt.Errorf("remove snapshot %s of dataset %s: %w", snapshot, ref, err)
	}
	s.log.Info("snapshot removed", "snapshot", k.Name, "id", k.ID, "dataset", n.ID, "name", n.Name, "by", by)
	return api.SnapshotInfo{KeptSnapshot: k, Dataset: n.ID, DatasetName: n.Name, State: api.SnapshotRemoved}, nil
}

// letGo has a snapshot removed, unless something is still to be made of it.
func (d *draft) letGo(ctx context.Context, n cluster.Dataset, k cluster.KeptSnapshot) (cluster.KeptSnapshot, error) {
	if err := d.noClones(n.ID, k.ID); err != nil {
		return k, err
	}
	if b := n.Rollback; b != nil && (b.To == k.ID || b.Kept == k.ID) {
		return k, fmt.Errorf("the dataset is being rolled back with it: %w", cluster.ErrConflict)
	}
	if k.Taken == nil && k.Group != "" {
		return k, fmt.Errorf("it is being taken together with those of the other datasets of application %s; try again: %w", k.Application, cluster.ErrConflict)
	}
	k.Removed = true
	_, c, err := d.stored(ctx, n)
	switch {
	case err != nil:
		return k, err
	case k.Taken == nil || !c.Held(*k.Taken): // the owner has nothing to let go
		n = n.WithoutSnapshots(func(o cluster.KeptSnapshot) bool { return o.ID == k.ID })
	default:
		n = n.WithSnapshot(k)
	}
	return k, d.putDataset(n)
}

// ReportSnapshots notes what a dataset's owner has taken, and what it has rolled back. It compares session, owner and epoch, so that a
// report that is delivered late changes nothing.
func (s *Service) ReportSnapshots(ctx context.Context, node cluster.NodeID, r api.SnapshotReport) (api.SnapshotReply, error) {
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := checkSession(ctx, tx, node, r.Session); err != nil {
			return err
		}
		sets := newRecords(tx)
		for _, t := range r.Taken {
			if err := noteTaken(ctx, sets, node, t); err != nil {
				return fmt.Errorf("snapshot %s of dataset %s: %w", t.ID, t.Dataset, err)
			}
		}
		for _, b := range r.RolledBack {
			if err := noteRolledBack(ctx, sets, node, b); err != nil {
				return fmt.Errorf("rollback of dataset %s: %w", b.Dataset, err)
			}
		}
		return nil
	})
	if err != nil {
		return api.SnapshotReply{}, fmt.Errorf("take in the snapshots of node %s: %w", node, err)
	}
	return api.SnapshotReply{Revision: rev}, nil
}

func noteTaken(ctx context.Context, sets *records, node cluster.NodeID, t api.TakenSnapshot) error {
	n, err := sets.get(ctx, t.Dataset)
	if err != nil {
		return err
	}
	k, asked := n.Kept(t.ID)
	switch {
	case !asked || k.Removed:
		return nil // nobody wants it any more
	case k.Taken != nil && k.Taken.Name == t.Snapshot.Name && k.Taken.ID == t.Snapshot.ID:
		return nil // the answer to the first report was lost
	case k.Taken != nil:
		return fmt.Errorf("it is taken already, as %s: %w", k.Taken.Name, cluster.ErrConflict)
	case n.Owner != node || n.Epoch != t.Snapshot.Epoch:
		return fmt.Errorf("the dataset is at epoch %d of node %s, the snapshot of epoch %d: %w", n.Epoch, n.Owner, t.Snapshot.Epoch, cluster.ErrConflict)
	}
	k.Taken = &t.Snapshot
	return sets.put(n.WithSnapshot(k))
}
