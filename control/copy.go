// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// CopyDataset makes the records of a dataset that gets the files of another one in another back end, and of the clone that they come
// from; the owner makes the data of both.
func (s *Service) CopyDataset(ctx context.Context, by, ref string, r api.CopyRequest) (cluster.Dataset, error) {
	var made cluster.Dataset
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		n, err := d.dataset(ref)
		if err != nil {
			return err
		}
		if err := d.copyable(ctx, n, r); err != nil {
			return err
		}
		if r.Size, err = d.sizeOfCopy(ctx, n, r); err != nil {
			return err
		}
		k, temporary, err := s.cloned(ctx, d, by, n, api.CloneRequest{Snapshot: r.Snapshot})
		if err != nil {
			return err
		}
		if _, err := d.cloneOn(ctx, n, k, ""); err != nil {
			return err
		}
		made, err = s.addCopy(ctx, d, n, r, cluster.Origin{Dataset: n.ID, Snapshot: k.ID, Temporary: temporary})
		return err
	})
	if err != nil {
		return cluster.Dataset{}, fmt.Errorf("copy dataset %s: %w", ref, err)
	}
	made.Revision = rev
	s.log.Info("dataset to be copied", "dataset", made.ID, "name", made.Name, "from", ref, "snapshot", r.Snapshot, "backend", r.Backend, "by", by)
	return made, nil
}

// addCopy adds the records of a copy and of its source.
func (s *Service) addCopy(ctx context.Context, d *draft, n cluster.Dataset, r api.CopyRequest, from cluster.Origin) (cluster.Dataset, error) {
	if err := cluster.ValidateDatasetName(r.Name); err != nil {
		return n, err
	}
	metadata := maps.Clone(n.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	delete(metadata, cluster.ProfileKey) // which is of a back end
	maps.Copy(metadata, r.Metadata)
	if _, named := metadata["name"]; named {
		metadata["name"] = r.Name
	}
	made, err := s.addDataset(ctx, d, cluster.Dataset{
		Name: r.Name, Owner: n.Owner, Size: r.Size, Backend: r.Backend, Metadata: metadata, Profile: firstOf(r.Profile, r.Metadata[cluster.ProfileKey]),
	})
	if err != nil {
		return n, err
	}
	source, err := s.addDataset(ctx, d, cluster.Dataset{Name: "source-of-" + string(made.ID), Owner: n.Owner, Size: n.Size, Backend: n.Backend})
	if err != nil {
		return n, err
	}
	source.Profile, source.CopyFor = n.Profile, made.ID
	source.Origin = &cluster.Origin{Dataset: from.Dataset, Snapshot: from.Snapshot}
	from.Via = source.ID
	made.Origin, made.Epoch = &from, cluster.HalfEpoch+1
	return made, errors.Join(d.putDataset(source), d.putDataset(made))
}

// copyable refuses what cannot be copied, or not now, or not there.
func (d *draft) copyable(ctx context.Context, n cluster.Dataset, r api.CopyRequest) error {
	meta, err := store.Get(ctx, d.tx, store.MetaKey)
	if err != nil {
		return err
	}
	switch {
	case meta.Unconfirmed:
		return fmt.Errorf("the state was restored, and nobody has confirmed that: %w", cluster.ErrPrecondition)
	case n.Deleted:
		return fmt.Errorf("it is deleted: %w", cluster.ErrConflict)
	case !n.Born:
		return fmt.Errorf("it has no data yet; try again: %w", cluster.ErrConflict)
	case n.Rollback != nil:
		return fmt.Errorf("it is being rolled back; try again: %w", cluster.ErrConflict)
	case r.Size < 0:
		return &cluster.FieldError{Field: "size", Problem: fmt.Sprintf("%d is negative", r.Size)}
	}
	if err := d.idle(ctx, "it", n.Move); err != nil {
		return err
	}
	if r.Node != "" {
		if on, err := d.node(r.Node); err != nil {
			return err
		} else if on.ID != n.Owner {
			return fmt.Errorf("a copy is made on the node that owns the dataset, %s; copy it there, and then move the copy to %s (flocker dataset move %s %s): %w",
				d.nodes[n.Owner].Name, on.Name, r.Name, on.Name, cluster.ErrPrecondition)
		}
	}
	return d.otherEnd(ctx, n, r.Backend)
}

// otherEnd refuses a back end that is not another one of the owner's.
func (d *draft) otherEnd(ctx context.Context, n cluster.Dataset, end string) error {
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(n.Owner))
	if ignoreNotFound(err) != nil {
		return err
	}
	if end == "" {
		return &cluster.FieldError{Field: "backend", Problem: fmt.Sprintf("is missing: name another back end than %s, where it is", seen.Back(n.Backend).Backend)}
	}
	there := n
	there.Backend, there.Profile = end, ""
	if err := d.mayHave(ctx, there); err != nil {
		return err
	}
	switch to := seen.Back(end); {
	case to.Backend == seen.Back(n.Backend).Backend:
		return fmt.Errorf("it is in back end %s already; there \"flocker dataset clone\" makes a copy of it at once: %w", end, cluster.ErrInvalid)
	case to.Error != "":
		return fmt.Errorf("back end %s of node %s: %s: %w", end, d.nodes[n.Owner].Name, to.Error, cluster.ErrPrecondition)
	}
	return nil
}

// leastCopy is what a copy gets at least where nobody says how large it is to be.
const leastCopy = 1 << 30

// sizeOfCopy is the limit that a copy gets. One that cannot hold what is in use now is refused; a file takes other room on other
// storage, so that what only just fits may still turn out not to.
func (d *draft) sizeOfCopy(ctx context.Context, n cluster.Dataset, r api.CopyRequest) (int64, error) {
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(n.Owner))
	if ignoreNotFound(err) != nil {
		return 0, err
	}
	_, c, err := d.stored(ctx, n)
	if err != nil {
		return 0, err
	}
	to, size := seen.Back(r.Backend), r.Size
	if size == 0 {
		size = n.Size
	}
	if size == 0 && to.Capabilities.Attaches {
		size = max(leastCopy, (2*c.Used+leastCopy-1)/leastCopy*leastCopy)
	}
	switch {
	case size > 0 && size < c.Used:
		return 0, fmt.Errorf("%s of it are in use, which is more than %s; give the copy more (--size): %w", cluster.FormatSize(c.Used), cluster.FormatSize(size), cluster.ErrPrecondition)
	case to.Total > 0 && to.Free < c.Used:
		return 0, fmt.Errorf("%s of it are in use, and back end %s of node %s has room for %s: %w",
			cluster.FormatSize(c.Used), to.Backend, d.nodes[n.Owner].Name, cluster.FormatSize(to.Free), cluster.ErrPrecondition)
	}
	return size, nil
}

// dropSource has what a copy's files come from destroyed.
func dropSource(ctx context.Context, sets *records, n cluster.Dataset) error {
	source, err := sets.get(ctx, n.Origin.Via)
	if errors.Is(err, cluster.ErrNotFound) || err == nil && source.Deleted {
		return nil
	}
	if err != nil {
		return err
	}
	source.Deleted = true
	store.Delete(sets.tx, nameKey(source.Name))
	return errors.Join(store.Put(sets.tx, doomKey(datasetObject(source.ID)), store.Doom{}), sets.put(source))
}
