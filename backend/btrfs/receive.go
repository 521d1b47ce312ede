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
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// Receive lets `btrfs receive` apply the stream in a place of its own. The snapshot appears as a snapshot of what is
// whole there: making that writes everything out, so that what is seen is durable.
func (d *Driver) Receive(ctx context.Context, id cluster.DatasetID, want cluster.Snapshot, base string, r io.Reader) (cluster.Snapshot, error) {
	lineage, err := backend.ParseLineage(want.Name)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if info, err := d.readOnly(id, want.Name); err == nil {
		return d.received(info, lineage, want, r)
	} else if !errors.Is(err, backend.ErrNotFound) {
		return cluster.Snapshot{}, err
	}
	expect := announced{name: want.Name, id: want.ID}
	if base != "" {
		info, err := d.readOnly(id, base)
		if err != nil {
			return cluster.Snapshot{}, fmt.Errorf("base %s: %w: %w", base, backend.ErrBaseMissing, err)
		}
		expect.baseID = info.content().String()
	}
	place := d.dir(incomingDir, rand.Text())
	if err := os.Mkdir(place, 0o700); err != nil {
		return cluster.Snapshot{}, fmt.Errorf("make the incoming place: %w", sentinel(err))
	}
	err = d.apply(ctx, place, &roomReader{Reader: checkStream(r, expect), driver: d})
	if err == nil {
		err = d.accept(filepath.Join(place, want.Name), id, want)
	}
	// What was begun goes away whatever ended it, a cancelled context above all.
	err = errors.Join(err, d.deleteTree(context.WithoutCancel(ctx), place))
	if err != nil {
		return cluster.Snapshot{}, err
	}
	info, err := subvolumeInfo(d.snapshot(id, want.Name))
	if err != nil {
		return cluster.Snapshot{}, err
	}
	return describe(want.Name, lineage, info, qgroup{}), nil
}

// received answers for a snapshot that is here already. The sender's stream is read to its end all the same.
func (d *Driver) received(info *subvolInfo, lineage backend.Lineage, want cluster.Snapshot, r io.Reader) (cluster.Snapshot, error) {
	if id := info.content().String(); id != want.ID {
		return cluster.Snapshot{}, fmt.Errorf("snapshot %s: %w with other content (%s, not %s)", want.Name, backend.ErrExists, id, want.ID)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return cluster.Snapshot{}, fmt.Errorf("receive: %w", err)
	}
	return describe(want.Name, lineage, info, qgroup{}), nil
}

// apply runs the receiving process. What it made counts only if the whole stream went into it and it agreed.
func (d *Driver) apply(ctx context.Context, place string, stream io.Reader) error {
	process, kill := context.WithCancel(ctx)
	defer kill()
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	cmd := run.Command(process, "btrfs", "--quiet", "receive", place)
	cmd.Stdin = out
	if err := errors.Join(cmd.Start(), out.Close()); err != nil {
		return errors.Join(fmt.Errorf("receive (package btrfs-progs): %w", err), in.Close())
	}
	fed := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{in}, stream, make([]byte, 256<<10))
		if err != nil {
			kill()
		}
		fed <- errors.Join(err, in.Close())
	}()
	applied := cmd.Wait()
	select {
	case err = <-fed:
	case <-ctx.Done(): // the reader may hang for as long as its connection does
		err = ctx.Err()
	}
	switch {
	case err != nil && !errors.Is(err, unix.EPIPE):
		return fmt.Errorf("receive: %w", err)
	case applied != nil:
		return fmt.Errorf("receive: %w", receiveError(applied))
	}
	return err
}

// receiveError finds the reason in what the program said.
func receiveError(err error) error {
	text := err.Error()
	if strings.Contains(text, "No space left on device") || strings.Contains(text, "Disk quota exceeded") {
		return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	}
	return err
}

// accept compares what was received with what was announced, and lets it appear.
func (d *Driver) accept(got string, id cluster.DatasetID, want cluster.Snapshot) error {
	info, err := subvolumeInfo(got)
	if err != nil {
		return err
	}
	if !info.readOnly() || info.receivedUUID.String() != want.ID {
		return fmt.Errorf("receive: %w: the receiver did not finish it", errStream)
	}
	of, err := attribute(got, datasetAttr)
	if err != nil {
		return err
	}
	if string(of) != string(id) {
		return fmt.Errorf("receive: %w: it is of dataset %q", errStream, of)
	}
	if err := d.makeVolume(id); err != nil {
		return err
	}
	return snapshotSubvolume(got, d.snapshot(id, want.Name), true)
}
