// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
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

// Revert makes the head what it was in one of its snapshots.
func (p *Pool) Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	return with(ctx, p, "revert", id, func(r Reverter) error {
		if err := checkName(snapshot, false); err != nil {
			return err
		}
		return r.Revert(ctx, id, snapshot)
	})
}

// Send writes a snapshot to w. Other changes of the dataset go on meanwhile.
func (p *Pool) Send(ctx context.Context, id cluster.DatasetID, snapshot, base string, w io.Writer) error {
	return p.stream(ctx, call{op: "send", id: id, object: snapshot}, func(r Replicator) error {
		if err := errors.Join(checkName(snapshot, false), checkName(base, true)); err != nil {
			return err
		}
		return r.Send(ctx, id, snapshot, base, w)
	})
}

// Partial is what was received of a snapshot whose stream broke off; nothing where the back end cannot go on with it. A receive that goes on is
// waited for.
func (p *Pool) Partial(ctx context.Context, id cluster.DatasetID) (of cluster.Partial, err error) {
	resumer, ok := as[Resumer](p.driver)
	if !ok {
		return of, nil
	}
	if err := checkID(id); err != nil {
		return of, fmt.Errorf("partial: %w", err)
	}
	release, err := p.streams.acquire(ctx, id)
	if err != nil {
		return of, fmt.Errorf("partial of dataset %s: wait for a receive: %w", id, err)
	}
	defer release()
	err = p.do(ctx, call{op: "partial", id: id}, func() error {
		of, err = resumer.Partial(ctx, id)
		return err
	})
	return of, err
}

// SendRest writes what another node lacks of a snapshot.
func (p *Pool) SendRest(ctx context.Context, id cluster.DatasetID, of cluster.Partial, w io.Writer) error {
	resumer, ok := as[Resumer](p.driver)
	if !ok {
		return fmt.Errorf("send the rest of dataset %s: %w", id, ErrUnfit)
	}
	return p.stream(ctx, call{op: "send-rest", id: id, object: of.Snapshot}, func(Replicator) error {
		if err := checkName(of.Snapshot, false); err != nil {
			return err
		}
		return resumer.SendRest(ctx, id, of, w)
	})
}

// Receive reads a snapshot from r; one at a time for a dataset. Other changes of the dataset go on meanwhile.
func (p *Pool) Receive(ctx context.Context, to Arrival, announced Announced, r io.Reader) (cluster.Snapshot, error) {
	var got cluster.Snapshot
	checked := func() (cluster.Snapshot, error) {
		want, err := announced()
		if err != nil {
			return want, err
		}
		return want, checkName(want.Name, false)
	}
	err := p.stream(ctx, call{op: "receive", id: to.Dataset, object: to.Base}, func(replicator Replicator) error {
		if err := checkName(to.Base, true); err != nil {
			return err
		}
		release, err := p.streams.acquire(ctx, to.Dataset)
		if err != nil {
			return fmt.Errorf("wait for another receive: %w", err)
		}
		defer release()
		got, err = replicator.Receive(ctx, to, checked, r)
		return err
	})
	return got, err
}

func (p *Pool) stream(ctx context.Context, c call, f func(Replicator) error) error {
	replicator, ok := as[Replicator](p.driver)
	if !ok {
		return fmt.Errorf("%s dataset %s: %w", c.op, c.id, ErrUnsupported)
	}
	if err := checkID(c.id); err != nil {
		return fmt.Errorf("%s: %w", c.op, err)
	}
	return p.do(ctx, c, func() error { return f(replicator) })
}
