// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// tokenProperty is what a filesystem has that was received in part.
const tokenProperty = "receive_resume_token"

// partialFor is how long what was received in part is kept: its sender may be away for a while, and may never come back.
const partialFor = 24 * time.Hour

// A token is a checksum and numbers, as they follow an option.
var tokenForm = regexp.MustCompile(`^[0-9a-f]+(-[0-9a-f]+)+$`)

// partial is a filesystem below flocker.incoming that has a part of a whole snapshot. Its name says of which.
type partial struct {
	cluster.Partial
	name    string
	dataset cluster.DatasetID
	created time.Time
}

// partialName is where a whole snapshot is received.
func (d *Driver) partialName(id cluster.DatasetID, s cluster.Snapshot) string {
	return d.incoming() + "/" + string(id) + "." + s.Name + "." + s.ID
}

// partialOf reads what a half made filesystem has, if anything can complete it.
func (d *Driver) partialOf(name string, v values) (p partial, ok bool) {
	parts := strings.Split(strings.TrimPrefix(name, d.incoming()+"/"), ".")
	created, err := v.number("creation")
	if err != nil || len(parts) != 3 || !uuidForm.MatchString(parts[0]) || !tokenForm.MatchString(v[tokenProperty]) {
		return p, false
	}
	return partial{
		name: name, dataset: cluster.DatasetID(parts[0]), created: time.Unix(created, 0),
		Partial: cluster.Partial{Snapshot: parts[1], ID: parts[2], Token: v[tokenProperty]},
	}, true
}

func (t *tree) partial(name string) bool {
	return slices.ContainsFunc(t.partials, func(p partial) bool { return p.name == name })
}

// Partial is the part of a whole snapshot that a broken receive has left.
func (d *Driver) Partial(ctx context.Context, id cluster.DatasetID) (cluster.Partial, error) {
	if !d.can.resumes {
		return cluster.Partial{}, nil
	}
	t, err := d.read(ctx)
	if err != nil {
		return cluster.Partial{}, err
	}
	for _, p := range t.partials {
		if p.dataset == id {
			return p.Partial, nil
		}
	}
	return cluster.Partial{}, nil
}

// dropPartials removes those of a dataset, and those that nobody has completed for long.
func (d *Driver) dropPartials(ctx context.Context, t *tree, id cluster.DatasetID) error {
	for _, p := range t.partials {
		if p.dataset != id && time.Since(p.created) < partialFor {
			continue
		}
		if err := d.scrap(ctx, p.name); err != nil {
			return err
		}
	}
	return nil
}

// begin finds the place of a whole snapshot: where a part of it is, or a new one, and what there is of others goes.
func (in *incoming) begin(ctx context.Context, rest string, want cluster.Snapshot) error {
	d := in.driver
	if !d.can.resumes {
		in.target = d.fresh()
		return nil
	}
	t, err := d.read(ctx)
	if err != nil {
		return err
	}
	in.target, in.rest = d.partialName(in.id, want), rest != ""
	if !in.rest {
		return d.dropPartials(ctx, t, in.id)
	}
	if !slices.ContainsFunc(t.partials, func(p partial) bool { return p.name == in.target && p.Token == rest }) {
		return fmt.Errorf("the rest of snapshot %s: %w: its first part is not here", want.Name, backend.ErrUnfit)
	}
	return nil
}

// SendRest lets zfs go on as the token says, if that is about the snapshot.
func (d *Driver) SendRest(ctx context.Context, id cluster.DatasetID, of cluster.Partial, w io.Writer) error {
	ls, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	_, s, ok := ls.find(of.Snapshot)
	if !ok || s.id() != of.ID || !d.can.resumes || !tokenForm.MatchString(of.Token) {
		return fmt.Errorf("the rest of snapshot %s: %w", of.Snapshot, backend.ErrUnfit)
	}
	to := &announcing{w: w, want: expected{dataset: id, name: of.Snapshot, id: of.ID}}
	err = d.sendAs(ctx, []string{"-t", of.Token}, to)
	if err != nil && !to.begun && ctx.Err() == nil && !errors.Is(err, errSilent) {
		return fmt.Errorf("the rest of snapshot %s: %w: %w", of.Snapshot, backend.ErrUnfit, err)
	}
	return err
}

// announcing passes a stream on when it begins as what was asked for: a token comes from another node, and says itself what it is about.
type announcing struct {
	w     io.Writer
	want  expected
	first []byte
	begun bool
}

func (a *announcing) Write(p []byte) (int, error) {
	if a.begun {
		return a.w.Write(p)
	}
	a.first = append(a.first, p...)
	if len(a.first) < recordSize {
		return len(p), nil
	}
	b, err := parseBegin(a.first[:recordSize])
	if err == nil {
		err = a.want.check(b)
	}
	if err != nil {
		return 0, err
	}
	a.begun = true
	if _, err := a.w.Write(a.first); err != nil {
		return 0, err
	}
	return len(p), nil
}
