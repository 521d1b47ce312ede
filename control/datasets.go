// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// CreateDataset makes a dataset's record; its owner makes the data.
func (s *Service) CreateDataset(ctx context.Context, by string, r api.DatasetRequest) (cluster.Dataset, error) {
	var made cluster.Dataset
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		owner, err := d.node(r.Node)
		if err != nil {
			return err
		}
		n := cluster.Dataset{
			ID: r.ID, Name: r.Name, Owner: owner.ID, Size: r.Size, Metadata: r.Metadata, Backend: r.Backend, Root: r.Root,
			Profile: firstOf(r.Profile, r.Metadata[cluster.ProfileKey]),
		}
		made, err = s.addDataset(ctx, d, n)
		return err
	})
	if err != nil {
		return cluster.Dataset{}, fmt.Errorf("create dataset %s: %w", firstOf(r.Name, string(r.ID), "without a name"), err)
	}
	made.Revision = rev
	s.log.Info("dataset created", "dataset", made.ID, "name", made.Name, "by", by)
	return made, nil
}

// mayHave refuses a back end or a profile that the owner of a dataset does not have, or has not told of. What asks for neither can be
// made anywhere.
func (d *draft) mayHave(ctx context.Context, n cluster.Dataset) error {
	if n.Backend == "" && n.Profile == "" {
		return nil
	}
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(n.Owner))
	if ignoreNotFound(err) != nil {
		return err
	}
	name := d.nodes[n.Owner].Name
	if seen.Storage.Backend == "" {
		return fmt.Errorf("node %s has not told yet what storage it has; try again: %w", name, cluster.ErrPrecondition)
	}
	all := append([]string{seen.Storage.Backend}, slices.Sorted(maps.Keys(seen.Further))...)
	if n.Backend != "" && !slices.Contains(all, n.Backend) {
		return fmt.Errorf("node %s has no back end %q: there are %s: %w", name, n.Backend, strings.Join(all, ", "), cluster.ErrPrecondition)
	}
	if on := seen.Back(n.Backend); !on.HasProfile(n.Profile) {
		return fmt.Errorf("back end %s of node %s has no profile %q: %s: %w", on.Backend, name, n.Profile, cluster.ProfilesAre(on.Profiles), cluster.ErrPrecondition)
	}
	return nil
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}

// addDataset checks that id and name were never, and are not now, another dataset's.
func (s *Service) addDataset(ctx context.Context, d *draft, n cluster.Dataset) (cluster.Dataset, error) {
	if n.ID == "" {
		n.ID = cluster.DatasetID(uuid.NewString())
	}
	n.ID = cluster.DatasetID(strings.ToLower(string(n.ID)))
	n.Name = firstOf(n.Name, n.Metadata["name"], string(n.ID))
	n.Epoch, n.Created = 1, s.now()
	n.Move, n.Born, n.Adopt, n.Eviction, n.Deleted = "", false, "", cluster.Eviction{}, false
	n.Snapshots, n.Rollback, n.Origin, n.CopyFor = nil, nil, nil, ""
	if err := n.Validate(); err != nil {
		return n, err
	}
	if err := d.mayHave(ctx, n); err != nil {
		return n, err
	}
	if _, there := d.datasets[n.ID]; there {
		return n, fmt.Errorf("dataset id %s is in use: %w", n.ID, cluster.ErrExists)
	}
	if _, err := store.Get(ctx, d.tx, store.Tombstones.Under(string(n.ID))); !errors.Is(err, cluster.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("dataset id %s was a deleted dataset's: %w", n.ID, cluster.ErrExists)
		}
		return n, err
	}
	if id, err := store.Get(ctx, d.tx, nameKey(n.Name)); !errors.Is(err, cluster.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("dataset name %q is in use by dataset %s: %w", n.Name, id, cluster.ErrExists)
		}
		return n, err
	}
	if err := store.Put(d.tx, nameKey(n.Name), n.ID); err != nil {
		return n, err
	}
	return n, d.putDataset(n)
}

func nameKey(name string) store.Key[cluster.DatasetID] { return store.DatasetNames.Under(name) }

// ChangeDataset sets a dataset's limit.
func (s *Service) ChangeDataset(ctx context.Context, by, ref string, c api.DatasetChange) (cluster.Dataset, error) {
	var n cluster.Dataset
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		if n, err = d.dataset(ref); err != nil {
			return err
		}
		if n.Deleted {
			return fmt.Errorf("it is deleted: %w", cluster.ErrConflict)
		}
		if c.Size == nil || *c.Size == n.Size {
			return nil
		}
		if err := d.idle(ctx, "it", n.Move); err != nil {
			return err
		}
		n.Size = *c.Size
		if err := n.Validate(); err != nil {
			return err
		}
		if err := d.mayResize(ctx, n); err != nil {
			return err
		}
		return d.putDataset(n)
	})
	if err != nil {
		return cluster.Dataset{}, fmt.Errorf("change dataset %s: %w", ref, err)
	}
	n.Revision = max(n.Revision, rev)
	s.log.Info("dataset changed", "dataset", n.ID, "name", n.Name, "size", n.Size, "by", by)
	return n, nil
}

// mayResize refuses a limit that the owner's storage cannot have, by what is known of it. What changes afterwards its agent finds out.
func (d *draft) mayResize(ctx context.Context, n cluster.Dataset) error {
	if n.ByFiles() && !n.Born {
		return fmt.Errorf("it is being copied from another back end; try again when it is whole: %w", cluster.ErrConflict)
	}
	storage, c, err := d.stored(ctx, n)
	if err != nil || !n.Born {
		return err
	}
	can, refused := storage.Capabilities, ""
	switch {
	case !can.Resizes:
		refused = fmt.Sprintf("the storage %s of node %s cannot change a dataset's size", storage.Backend, d.nodes[n.Owner].Name)
	case can.Attaches && n.Size == 0:
		refused = "a volume of network storage always has a limit"
	case can.Attaches && n.Size < c.Size:
		refused = fmt.Sprintf("its volume has %s, and a volume of network storage never becomes smaller", cluster.FormatSize(c.Size))
	case n.Size > 0 && n.Size < c.Used:
		refused = fmt.Sprintf("%s of it are in use, which is more than %s", cluster.FormatSize(c.Used), cluster.FormatSize(n.Size))
	}
	if refused == "" {
		return nil
	}
	return fmt.Errorf("%s: %w", refused, cluster.ErrPrecondition)
}

// stored is what the owner of a dataset last said of the dataset's storage and of its copy; both are empty until it has.
func (d *draft) stored(ctx context.Context, n cluster.Dataset) (cluster.Storage, cluster.Copy, error) {
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(n.Owner))
	if ignoreNotFound(err) != nil {
		return cluster.Storage{}, cluster.Copy{}, err
	}
	c, err := store.Get(ctx, d.tx, store.Copies(n.Owner).Under(string(n.ID)))
	return seen.Back(n.Backend), c, ignoreNotFound(err)
}

// DeleteDataset asks for the destruction of all copies. It is refused while an
// application uses the dataset. A move under way is cancelled while it can be.
func (s *Service) DeleteDataset(ctx context.Context, by, ref string) (cluster.Dataset, error) {
	return s.destroy(ctx, by, ref, func(*draft, cluster.Dataset) error { return nil })
}

func (s *Service) destroy(ctx context.Context, by, ref string, may func(*draft, cluster.Dataset) error) (cluster.Dataset, error) {
	var n cluster.Dataset
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		if n, err = d.dataset(ref); err != nil || n.Deleted {
			return err
		}
		if users := d.users(n.ID); len(users) > 0 {
			state := "uses it; remove that first"
			if users[0].Deleted {
				state = "used it and is still being removed; try again"
			}
			return fmt.Errorf("application %s %s: %w", users[0].Name, state, cluster.ErrConflict)
		}
		if err := errors.Join(may(d, n), d.unheld(ctx, n), d.noClones(n.ID, "")); err != nil {
			return err
		}
		if err := s.cancelFor(ctx, d, "it", n.Move, "the dataset is to be deleted"); err != nil {
			return err
		}
		if err := cloneMade(ctx, newRecords(tx), n); err != nil {
			return err
		}
		if err := d.dropSchedules(ctx, func(x cluster.Schedule) bool { return x.Dataset == n.ID }); err != nil {
			return err
		}
		n.Deleted = true
		store.Delete(tx, nameKey(n.Name))
		if err := store.Put(tx, doomKey(datasetObject(n.ID)), store.Doom{}); err != nil {
			return err
		}
		return d.putDataset(n)
	})
	if err != nil {
		return cluster.Dataset{}, fmt.Errorf("delete dataset %s: %w", ref, err)
	}
	n.Revision = max(n.Revision, rev)
	s.log.Info("dataset deleted", "dataset", n.ID, "name", n.Name, "by", by)
	return n, nil
}
