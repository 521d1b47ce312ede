// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Receive applies the stream to a subvolume in a place of its own. The snapshot appears as a snapshot of what is whole
// there: making that writes everything out, so that what is seen is durable. It is the only commit that is waited for
// after the stream's end; the subvolume is there before the snapshot is announced.
func (d *Driver) Receive(ctx context.Context, to backend.Arrival, announced backend.Announced, r io.Reader) (cluster.Snapshot, error) {
	in, err := d.incoming(ctx, to.Dataset, to.Base)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	snapshot, err := in.take(ctx, announced, r)
	if err != nil {
		// What was begun goes away whatever ended it, a cancelled context above all.
		return cluster.Snapshot{}, errors.Join(err, d.deleteTree(context.WithoutCancel(ctx), in.place))
	}
	d.sweepLater(in.place)
	return snapshot, nil
}

// incoming is a snapshot while it is received.
type incoming struct {
	driver *Driver
	id     cluster.DatasetID
	base   string
	of     uuid // content of the base
	place  string
	tree   string // the subvolume in it
}

// incoming makes the subvolume that a stream is applied to.
func (d *Driver) incoming(ctx context.Context, id cluster.DatasetID, base string) (*incoming, error) {
	in := &incoming{driver: d, id: id, base: base, place: d.dir(incomingDir, rand.Text())}
	in.tree = filepath.Join(in.place, "tree")
	if base != "" {
		info, err := d.readOnly(id, base)
		if err != nil {
			return nil, fmt.Errorf("base %s: %w: %w", base, backend.ErrBaseMissing, err)
		}
		in.of = info.content()
	}
	if err := os.Mkdir(in.place, 0o700); err != nil {
		return nil, fmt.Errorf("make the incoming place: %w", sentinel(err))
	}
	err := d.withRoom(func() error {
		if base == "" {
			return createSubvolume(in.tree)
		}
		return snapshotSubvolume(d.snapshot(id, base), in.tree, false)
	})
	if err != nil {
		return nil, errors.Join(err, d.deleteTree(context.WithoutCancel(ctx), in.place))
	}
	return in, nil
}

// take lets the snapshot that is announced appear once the stream has been applied. One that is here already is
// answered; the sender's stream is read to its end all the same.
func (in *incoming) take(ctx context.Context, announced backend.Announced, r io.Reader) (cluster.Snapshot, error) {
	want, err := announced()
	if err != nil {
		return cluster.Snapshot{}, err
	}
	lineage, err := backend.ParseLineage(want.Name)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	there, err := in.driver.readOnly(in.id, want.Name)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		err = in.fill(ctx, want, r)
		if err == nil {
			there, err = subvolumeInfo(in.driver.snapshot(in.id, want.Name))
		}
	case err == nil && there.content().String() != want.ID:
		err = fmt.Errorf("snapshot %s: %w with other content (%s, not %s)", want.Name, backend.ErrExists, there.content(), want.ID)
	case err == nil:
		err = backend.UnlessEnded(ctx, func() error {
			if _, err := io.Copy(io.Discard, r); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			return nil
		})
	}
	if err != nil {
		return cluster.Snapshot{}, err
	}
	return describe(want.Name, lineage, there, qgroup{}), nil
}

// fill applies the stream, and lets the snapshot appear if everything is as announced.
func (in *incoming) fill(ctx context.Context, want cluster.Snapshot, r io.Reader) error {
	tree, err := openBeneath(in.tree)
	if err != nil {
		return err
	}
	a := &applier{tree: tree, ofBase: in.of, expect: expected{name: want.Name, id: want.ID}}
	if in.base != "" {
		a.expect.baseID = in.of.String()
		if a.base, err = openBeneath(in.driver.snapshot(in.id, in.base)); err != nil {
			return errors.Join(err, tree.close())
		}
	}
	err = backend.UnlessEnded(ctx, func() error {
		// Marking waits for a commit, which goes on while the stream is applied.
		var marking sync.WaitGroup
		var marked error
		a.begun = func(content uuid, transaction uint64) {
			marking.Go(func() { marked = markReceived(in.tree, content, transaction, want.Created) })
		}
		err := a.run(ctx, &roomReader{Reader: r, driver: in.driver})
		marking.Wait()
		if err = errors.Join(err, marked, ctx.Err()); err != nil {
			err = errors.Join(err, a.close())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return errors.Join(in.accept(want, tree), a.close())
}

// accept compares what was received with what was announced, and lets it appear.
func (in *incoming) accept(want cluster.Snapshot, tree *beneath) error {
	of, err := attribute(in.tree, datasetAttr)
	if err != nil {
		return err
	}
	if string(of) != string(in.id) {
		return fmt.Errorf("receive: %w: it is of dataset %q", errStream, of)
	}
	info, err := subvolumeInfo(in.tree)
	if err != nil {
		return err
	}
	if info.receivedUUID.String() != want.ID {
		return fmt.Errorf("receive: %w: it is marked as %s", errStream, info.receivedUUID)
	}
	// Before it appears: whoever looks, or dies, in between must not find a snapshot with holes.
	if err := tree.writeOut(); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if err := in.driver.makeVolume(in.id); err != nil {
		return err
	}
	return snapshotSubvolume(in.tree, in.driver.snapshot(in.id, want.Name), true)
}

// markReceived gives a subvolume the identity of the content that it was sent from, and the time at which that was taken. A read-only
// snapshot of it keeps both (create_pending_snapshot in the kernel's fs/btrfs/transaction.c).
func markReceived(path string, content uuid, transaction uint64, taken time.Time) error {
	return within(path, func(fd int) error {
		if err := ioctl(fd, iocReceived, &receivedArgs{uuid: content, stransid: transaction, stime: timespecOf(taken)}); err != nil {
			return fmt.Errorf("mark %s as received: %w", path, sentinel(err))
		}
		return nil
	})
}
