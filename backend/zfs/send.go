// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// Send lets zfs write its stream to w.
func (d *Driver) Send(ctx context.Context, id cluster.DatasetID, snapshot, base string, w io.Writer) error {
	ls, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	var of *line
	if base != "" {
		var ok bool
		if of, _, ok = ls.find(base); !ok {
			return fmt.Errorf("base %s: %w", base, backend.ErrBaseMissing)
		}
	}
	l, _, ok := ls.find(snapshot)
	if !ok {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	if of != nil && of != l {
		if err := d.join(ctx, l, of, base); err != nil {
			return err
		}
	}
	return d.send(ctx, l, snapshot, base, w)
}

// join lets a line take over the base from that which it is a clone of, so that both are in one line. A line that is not of the base is
// ErrUnfit: ZFS knows differences to ancestors only.
func (d *Driver) join(ctx context.Context, l, of *line, base string) error {
	if l.origin != "" {
		if _, err := d.zfs(ctx, "promote", l.name); err != nil {
			return err
		}
		now, err := d.look(ctx, l.dataset)
		if err != nil {
			return err
		}
		if has, _, ok := now.find(base); ok && has.name == l.name {
			return nil
		}
	}
	return fmt.Errorf("base %s: %w: it is in %s, and %s is not of it", base, backend.ErrUnfit, of.name, l.name)
}

// send runs `zfs send`.
func (d *Driver) send(ctx context.Context, l *line, snapshot, base string, w io.Writer) error {
	var args []string
	if l.encrypted {
		args = append(args, "-w") // as it is on disk: the key stays here
	} else {
		args = append(args, d.can.stored...)
	}
	if base != "" {
		args = append(args, "-i", "@"+base)
	}
	return d.sendAs(ctx, append(args, l.at(snapshot)), w)
}

func (d *Driver) sendAs(ctx context.Context, args []string, w io.Writer) error {
	watched, stalled := watch(ctx, d.limit)
	defer stalled.end()
	to := &keepError{w: w, stalled: stalled}
	cmd := run.Command(watched, "zfs", slices.Concat([]string{"send"}, args)...)
	cmd.Stdout = to
	err := backend.UnlessEnded(watched, cmd.Run)
	switch {
	case stalled.over.Load():
		return fmt.Errorf("send: zfs send has said nothing for %s: %w", d.limit, errSilent)
	case ctx.Err() != nil:
		return fmt.Errorf("send: %w", ctx.Err())
	case to.err != nil:
		return fmt.Errorf("send: %w", to.err)
	case err != nil:
		return fmt.Errorf("send: %w", sentinel(err))
	}
	return nil
}

// keepError remembers why it could not write: the program itself only sees that its reader has gone.
type keepError struct {
	w       io.Writer
	stalled *stall
	err     error
}

func (k *keepError) Write(p []byte) (int, error) {
	if k.err != nil {
		return 0, k.err
	}
	k.stalled.pause()
	defer k.stalled.resume()
	n, err := k.w.Write(p)
	k.err = err
	return n, err
}

// errEnough ends a stream of which enough was seen.
var errEnough = errors.New("seen enough")

// firstRecords keeps the beginning of a stream and then ends it.
type firstRecords struct{ kept []byte }

func (f *firstRecords) Write(p []byte) (int, error) {
	f.kept = append(f.kept, p...)
	if b, err := parseBegin(f.kept[:min(len(f.kept), recordSize)]); err == nil && len(f.kept) >= 2*recordSize+int(b.payload) {
		return len(p), errEnough
	}
	return len(p), nil
}

// unchanged says whether a head is what the snapshot is: a snapshot is taken now, and the difference has nothing between its begin and
// its end.
func (d *Driver) unchanged(ctx context.Context, head *line, base string) (err error) {
	probe := ownPrefix + "probe." + rand.Text()
	if err := d.flush(ctx, head); err != nil {
		return err
	}
	if err := d.take(ctx, head, probe); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.expire(context.WithoutCancel(ctx), head.at(probe))) }()
	args := []string{"send"}
	if head.encrypted {
		args = append(args, "-w")
	}
	first := new(firstRecords)
	watched, stalled := watch(ctx, d.limit)
	defer stalled.end()
	cmd := run.Command(watched, "zfs", slices.Concat(args, []string{"-i", base, head.at(probe)})...)
	cmd.Stdout = first
	err = backend.UnlessEnded(watched, cmd.Run)
	if stalled.over.Load() {
		return fmt.Errorf("the difference to %s: zfs send has said nothing for %s: %w", base, d.limit, errSilent)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the difference to %s: %w", base, ctx.Err())
	}
	if err != nil && len(first.kept) < 2*recordSize {
		return sentinel(err)
	}
	b, err := parseBegin(first.kept[:min(len(first.kept), recordSize)])
	if err != nil {
		return err
	}
	if rest := first.kept[recordSize:]; len(rest) == int(b.payload)+recordSize && isEnd(rest[b.payload:]) {
		return nil
	}
	_, of, _ := bytes.Cut([]byte(base), []byte("@"))
	return fmt.Errorf("%w %s", backend.ErrChanged, of)
}
