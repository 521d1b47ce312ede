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

// CloneDataset makes a dataset's record that begins with the content of another; its owner makes the data.
func (s *Service) CloneDataset(ctx context.Context, by, ref string, r api.CloneRequest) (cluster.Dataset, error) {
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
		if n.Deleted {
			return fmt.Errorf("it is deleted: %w", cluster.ErrConflict)
		}
		if err := cluster.ValidateDatasetName(r.Name); err != nil {
			return err
		}
		k, temporary, err := s.cloned(ctx, d, by, n, r)
		if err != nil {
			return err
		}
		owner, err := d.cloneOn(ctx, n, k, r.Node)
		if err != nil {
			return err
		}
		metadata := maps.Clone(n.Metadata)
		if metadata == nil {
			metadata = map[string]string{}
		}
		maps.Copy(metadata, r.Metadata)
		if _, named := metadata["name"]; named {
			metadata["name"] = r.Name
		}
		if err := d.keepsProfile(ctx, n, owner); err != nil {
			return err
		}
		made, err = s.addDataset(ctx, d, cluster.Dataset{Name: r.Name, Owner: owner, Size: n.Size, Backend: n.Backend, Metadata: metadata})
		if err != nil {
			return err
		}
		made.Profile = n.Profile // which need not be known any more where it is
		made.Origin = &cluster.Origin{Dataset: n.ID, Snapshot: k.ID, Temporary: temporary}
		return d.putDataset(made)
	})
	if err != nil {
		return cluster.Dataset{}, fmt.Errorf("clone dataset %s: %w", ref, err)
	}
	made.Revision = rev
	s.log.Info("dataset to be cloned", "dataset", made.ID, "name", made.Name, "from", ref, "snapshot", r.Snapshot, "by", by)
	return made, nil
}

// keepsProfile refuses a node that lacks a dataset's profile where the dataset's owner has it: what is made there would be another.
func (d *draft) keepsProfile(ctx context.Context, n cluster.Dataset, on cluster.NodeID) error {
	here, _, err := d.stored(ctx, n)
	if err != nil || !here.HasProfile(n.Profile) {
		return err
	}
	there := n
	there.Owner = on
	return d.mayHave(ctx, there)
}

// cloned is the snapshot that a clone is made from; one is asked for where none is named.
func (s *Service) cloned(ctx context.Context, d *draft, by string, n cluster.Dataset, r api.CloneRequest) (k cluster.KeptSnapshot, temporary bool, err error) {
	if r.Snapshot == "" {
		k = cluster.KeptSnapshot{ID: cluster.SnapshotID(uuid.NewString()), Name: "clone-" + s.now().Format(snapshotTime), By: by, Asked: s.now()}
		return k, true, d.keep(ctx, n, k)
	}
	if k, err = findKept(n, r.Snapshot); err == nil && k.Removed {
		err = fmt.Errorf("snapshot %s is being removed: %w", k.Name, cluster.ErrConflict)
	}
	return k, false, err
}

// cloneOn is the node that makes a clone: it has the snapshot, or is to take it.
func (d *draft) cloneOn(ctx context.Context, n cluster.Dataset, k cluster.KeptSnapshot, ref string) (cluster.NodeID, error) {
	holders := []cluster.NodeID{n.Owner}
	var err error
	if k.Taken != nil {
		if holders, err = d.holders(ctx, n.ID, *k.Taken); err != nil {
			return "", err
		}
	}
	on := d.nodes[n.Owner]
	if ref != "" {
		if on, err = d.node(ref); err != nil {
			return "", err
		}
	}
	if storage, _, err := d.stored(ctx, n); err != nil {
		return "", err
	} else if storage.Capabilities.Attaches {
		return on.ID, d.mayClone(ctx, n, on)
	}
	if slices.Contains(holders, on.ID) {
		return on.ID, nil
	}
	remedy := "no node reports that it has it"
	if len(holders) > 0 {
		var names []string
		for _, id := range holders {
			names = append(names, d.nodes[id].Name)
		}
		remedy = "clone it on " + strings.Join(names, " or ") + ", and move the clone"
	}
	return "", fmt.Errorf("snapshot %s is not on node %s; %s: %w", k.Name, on.Name, remedy, cluster.ErrPrecondition)
}

// mayClone refuses a node whose storage is not the store that a dataset is in, or makes no clones of its volumes.
func (d *draft) mayClone(ctx context.Context, n cluster.Dataset, on cluster.Node) error {
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(on.ID))
	if ignoreNotFound(err) != nil {
		return err
	}
	switch storage := seen.Back(n.Backend); {
	case storage.Backend == "":
		return fmt.Errorf("node %s has not told yet what its storage can do; try again: %w", on.Name, cluster.ErrPrecondition)
	case storage.Error != "":
		return fmt.Errorf("storage on node %s: %s: %w", on.Name, storage.Error, cluster.ErrPrecondition)
	case !storage.Capabilities.Attaches || !storage.Capabilities.Snapshots:
		return fmt.Errorf("the storage %s of node %s makes no clones%s: %w", storage.Backend, on.Name, because(storage), cluster.ErrPrecondition)
	}
	return nil
}

// noClones refuses to let go of what a clone is still to be made from; any snapshot of the dataset where id is empty.
func (d *draft) noClones(of cluster.DatasetID, id cluster.SnapshotID) error {
	for _, c := range sortedKeys(d.datasets) {
		n := d.datasets[c]
		if o := n.Origin; o != nil && n.CopyFor == "" && o.Dataset == of && (id == "" || o.Snapshot == id) && !n.Born && !n.Deleted {
			return fmt.Errorf("dataset %s is being %s from it; try again: %w", n.Name, madeAs(n), cluster.ErrConflict)
		}
	}
	return nil
}

func madeAs(n cluster.Dataset) string {
	if n.ByFiles() {
		return "copied"
	}
	return "cloned"
}

// cloneMade lets go what was made for a clone alone, which is made or no longer wanted: a snapshot, and what a copy's files come from.
func cloneMade(ctx context.Context, sets *records, n cluster.Dataset) error {
	if n.ByFiles() {
		if err := dropSource(ctx, sets, n); err != nil {
			return err
		}
	}
	if n.Origin == nil || !n.Origin.Temporary {
		return nil
	}
	from, err := sets.get(ctx, n.Origin.Dataset)
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	k, there := from.Kept(n.Origin.Snapshot)
	if err != nil || !there || k.Removed {
		return err
	}
	k.Removed = true
	return sets.put(from.WithSnapshot(k))
}
