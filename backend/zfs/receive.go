// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// Receive lets zfs apply the stream: a difference to the line whose newest snapshot is the base, a whole snapshot to a filesystem out of
// sight. It appears by a rename.
func (d *Driver) Receive(ctx context.Context, to backend.Arrival, announced backend.Announced, r io.Reader) (cluster.Snapshot, error) {
	id := to.Dataset
	in := &incoming{driver: d, id: id, profile: to.Profile, snapshot: ownPrefix + "in." + rand.Text()}
	if err := in.prepare(ctx, to.Base); err != nil {
		return cluster.Snapshot{}, err
	}
	if in.line != nil {
		defer d.unclaim(in.line.name)
	}
	want, err := announced()
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if _, err := backend.ParseLineage(want.Name); err != nil {
		return cluster.Snapshot{}, err
	}
	ls, err := d.look(ctx, id)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if _, there, ok := ls.find(want.Name); ok {
		return in.again(ctx, there, want, r)
	}
	if in.line == nil {
		if err := in.begin(ctx, to.Rest, want); err != nil {
			return cluster.Snapshot{}, err
		}
	}
	if err := in.take(ctx, want, r); err != nil {
		return cluster.Snapshot{}, errors.Join(fmt.Errorf("receive: %w", err), in.undo(ctx, err))
	}
	return d.describeSnapshot(ctx, id, want.Name)
}

// incoming is a snapshot while it is received.
type incoming struct {
	driver   *Driver
	id       cluster.DatasetID
	profile  string
	line     *line  // that the difference is received into, nil for a whole snapshot
	base     uint64 // content of the base
	target   string // filesystem that is received into
	snapshot string // what it is called until it appears
	rest     bool   // it completes what is there in part
}

// prepare finds or makes the line that ends in the base.
func (in *incoming) prepare(ctx context.Context, base string) error {
	d := in.driver
	if base == "" {
		return nil // begin finds a place for it
	}
	ls, err := d.look(ctx, in.id)
	if err != nil {
		return err
	}
	l, s, ok := ls.find(base)
	if !ok {
		return fmt.Errorf("base %s: %w", base, backend.ErrBaseMissing)
	}
	in.base = s.guid
	if l.rests(base) && d.claim(l.name) {
		in.line, in.target = l, l.name
		return nil
	}
	if in.target, err = d.branch(ctx, l, base, nil, 0); err != nil {
		return err
	}
	if ls, err = d.look(ctx, in.id); err != nil {
		return err
	}
	l, _, ok = ls.find(base)
	if !ok || l.name != in.target || !l.rests(base) || !d.claim(l.name) {
		return fmt.Errorf("base %s: %w: its line is in use", base, backend.ErrBusy)
	}
	in.line = l
	return nil
}

// again answers a snapshot that is here already; the sender's stream is read to its end all the same.
func (in *incoming) again(ctx context.Context, there snapshot, want cluster.Snapshot, r io.Reader) (cluster.Snapshot, error) {
	if there.id() != want.ID {
		return cluster.Snapshot{}, fmt.Errorf("snapshot %s: %w with other content (%s, not %s)", want.Name, backend.ErrExists, there.id(), want.ID)
	}
	err := backend.UnlessEnded(ctx, func() error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return cluster.Snapshot{}, fmt.Errorf("receive: %w", err)
	}
	return there.describe(), nil
}

// take receives the stream and lets the snapshot appear.
func (in *incoming) take(ctx context.Context, want cluster.Snapshot, r io.Reader) error {
	expect := expected{dataset: in.id, name: want.Name, id: want.ID, base: in.base}
	err := backend.UnlessEnded(ctx, func() error { return in.apply(ctx, expect, r) })
	if err != nil {
		return err
	}
	d, from := in.driver, in.target+"@"+in.snapshot
	if in.line == nil {
		if err := in.markWhole(ctx); err != nil {
			return err
		}
	}
	if err := d.pin(ctx, from); err != nil {
		return err
	}
	if in.line != nil {
		_, err := d.zfs(ctx, "rename", from, in.target+"@"+want.Name)
		return err
	}
	return in.appearWhole(ctx, want.Name)
}

// markWhole makes a filesystem that was received a line.
func (in *incoming) markWhole(ctx context.Context) error {
	d := in.driver
	for _, p := range [][2]string{{"canmount", "noauto"}, {"atime", "off"}, {datasetMark, string(in.id)}} {
		if err := d.set(ctx, in.target, p[0], p[1]); err != nil {
			return err
		}
	}
	if err := d.setProfile(ctx, in.target, in.profile); err != nil {
		return err
	}
	return d.setPoint(ctx, in.target, d.usualPoint(in.id)) // after canmount
}

// appearWhole lets a whole snapshot appear under its own name, which it gets last: nothing below flocker.incoming has one.
func (in *incoming) appearWhole(ctx context.Context, name string) error {
	line, err := in.driver.appear(ctx, in.target, in.id)
	if err != nil {
		return err
	}
	in.target = line
	_, err = in.driver.zfs(ctx, "rename", line+"@"+in.snapshot, line+"@"+name)
	return err
}

// endWithin is how long `zfs receive` may take to give up once its input has ended.
const endWithin = 30 * time.Second

// apply feeds `zfs receive`, which is not killed when ctx ends but loses its input: so it can clean up.
func (in *incoming) apply(ctx context.Context, expect expected, r io.Reader) error {
	first := make([]byte, recordSize)
	if _, err := io.ReadFull(r, first); err != nil {
		return fmt.Errorf("%w: its begin: %w", errStream, err)
	}
	b, err := parseBegin(first)
	if err == nil {
		err = expect.check(b)
	}
	if err != nil {
		return err
	}
	out, feed, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pipe to zfs receive: %w", err)
	}
	// The stall is of zfs only: r may be silent for as long as its sender.
	patience, stalled := watch(context.WithoutCancel(ctx), in.driver.limit)
	defer stalled.end()
	stalled.pause()
	cmd := run.Command(patience, "zfs", in.command()...)
	cmd.Stdin = out
	if err := cmd.Start(); err != nil {
		return errors.Join(err, out.Close(), feed.Close())
	}
	if err := out.Close(); err != nil { // or a write would wait for a reader that has gone
		return errors.Join(err, feed.Close(), cmd.Wait())
	}
	for _, ending := range []context.Context{ctx, patience} { // wakes a write that waits for zfs; the second close says so too
		stop := context.AfterFunc(ending, func() { feed.Close() })
		defer stop()
	}
	to := taker{feed, stalled}
	_, fed := to.Write(first)
	if fed == nil {
		fed = copyBody(to, r)
	}
	err = feed.Close()
	stalled.resume()
	if fed != nil {
		stalled.timer.Reset(endWithin)
	}
	ended := backend.UnlessEnded(patience, cmd.Wait)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case stalled.over.Load():
		return fmt.Errorf("zfs receive takes nothing: %w", errors.Join(errSilent, fed))
	case errors.Is(fed, os.ErrClosed), errors.Is(fed, unix.EPIPE): // zfs says why
		return errors.Join(errStream, sentinel(ended))
	case fed != nil:
		return fed
	case ended != nil:
		return errors.Join(errStream, sentinel(ended))
	}
	return err // of closing the pipe
}

// command receives a whole snapshot as its profile says, where the version can: blocks are then stored so from the first on.
func (in *incoming) command() []string {
	args := []string{"receive"}
	if in.line == nil && in.driver.can.resumes {
		args = append(args, "-s")
	}
	if in.line == nil && !in.rest && in.driver.can.receivesAs {
		for name, value := range in.driver.profiles[in.profile] {
			args = append(args, "-o", name+"="+value)
		}
	}
	return append(args, in.target+"@"+in.snapshot)
}

// undo removes what was received and is not accepted, unless it broke off and can go on.
func (in *incoming) undo(ctx context.Context, cause error) error {
	ctx = context.WithoutCancel(ctx)
	if in.line == nil && in.driver.can.resumes && !errors.Is(cause, errStream) && !errors.Is(cause, errSilent) {
		t, err := in.driver.read(ctx)
		if err != nil || t.partial(in.target) {
			return err
		}
	}
	if err := in.driver.scrapIncoming(ctx, in.target); err != nil {
		return err
	}
	ls, err := in.driver.look(ctx, in.id)
	for _, l := range ls {
		if l.name == in.target {
			return in.driver.dropReceived(ctx, l)
		}
	}
	return err
}
