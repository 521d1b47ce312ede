// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"fmt"
	"io"

	"github.com/flocker-project/flocker/cluster"
)

// Snapshot takes a read-only snapshot of the head.
func (p *Pool) Snapshot(ctx context.Context, id cluster.DatasetID, lineage Lineage) (cluster.Snapshot, error) {
	var snapshot cluster.Snapshot
	err := with(ctx, p, "snapshot", id, func(s Snapshotter) (err error) {
		snapshot, err = s.Snapshot(ctx, id, lineage)
		return err
	})
	return snapshot, err
}

// DeleteSnapshot removes a snapshot.
func (p *Pool) DeleteSnapshot(ctx context.Context, id cluster.DatasetID, name string) error {
	return with(ctx, p, "delete-snapshot", id, func(s Snapshotter) error {
		if err := checkName(name, false); err != nil {
			return err
		}
		return s.DeleteSnapshot(ctx, id, name)
	})
}

// Clone makes a head of a snapshot.
func (p *Pool) Clone(ctx context.Context, from cluster.DatasetID, snapshot string, spec Spec, scratch cluster.MoveID) error {
	return with(ctx, p, "clone", spec.Dataset, func(s Snapshotter) (err error) {
		if err := checkID(from); err != nil {
			return err
		}
		if err := checkName(snapshot, false); err != nil {
			return err
		}
		if spec.Size, err = round(spec.Size); err != nil {
			return err
		}
		return s.Clone(ctx, from, snapshot, spec, scratch)
	})
}

// Send writes a snapshot to w. Other changes of the dataset go on meanwhile.
func (p *Pool) Send(ctx context.Context, id cluster.DatasetID, snapshot, base string, w io.Writer) error {
	return p.stream(ctx, "send", id, snapshot, base, func(r Replicator) error {
		return r.Send(ctx, id, snapshot, base, w)
	})
}

// Receive reads a snapshot from r; one at a time for a dataset. Other changes of the dataset go on meanwhile.
func (p *Pool) Receive(ctx context.Context, id cluster.DatasetID, want cluster.Snapshot, base string, r io.Reader) (cluster.Snapshot, error) {
	var got cluster.Snapshot
	err := p.stream(ctx, "receive", id, want.Name, base, func(replicator Replicator) error {
		release, err := p.streams.acquire(ctx, id)
		if err != nil {
			return fmt.Errorf("wait for another receive: %w", err)
		}
		defer release()
		got, err = replicator.Receive(ctx, id, want, base, r)
		return err
	})
	return got, err
}

func (p *Pool) stream(ctx context.Context, op string, id cluster.DatasetID, snapshot, base string, f func(Replicator) error) error {
	replicator, ok := as[Replicator](p.driver)
	if !ok {
		return fmt.Errorf("%s dataset %s: %w", op, id, ErrUnsupported)
	}
	if err := checkID(id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return p.do(ctx, call{op: op, id: id, object: snapshot}, func() error {
		if err := checkName(snapshot, false); err != nil {
			return err
		}
		if err := checkName(base, true); err != nil {
			return err
		}
		return f(replicator)
	})
}
