// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/transfer"
)

const (
	// copiesAtOnce bounds how many datasets of a move are sent at a time.
	copiesAtOnce = 4
	// patience bounds how long a copy that makes no progress is tried again.
	patience = 3 * time.Minute
)

// Codes of a receiver's refusals.
const (
	codeNoSpace     = "no-space"
	codeNoBase      = "no-base"
	codeUnfit       = "unfit"
	codeNotPrepared = "not-prepared"
	codeRefused     = "refused"
)

// copy brings the datasets over while the application runs, until what is left is
// small; the hook runs before the last rounds, so that what it writes out is not in
// the last delta.
func (r *run) copy(ctx context.Context) error {
	if len(r.copied()) == 0 && len(r.sets) > 0 {
		return r.settleVolumes(ctx)
	}
	if err := r.findBases(ctx); err != nil {
		return err
	}
	budget := budgetOf(r.move)
	most := r.move.Options.MaxRounds
	if most == 0 {
		most = defaultMaxRounds
	}
	var rounds []round
	more := func() error {
		done, err := r.round(ctx, len(rounds)+1)
		rounds = append(rounds, done)
		return err
	}
	converged := false
	for again := true; again; {
		if err := more(); err != nil {
			return err
		}
		again, converged = next(rounds, budget, most)
	}
	if r.hooked() {
		for _, may := range []func(cluster.Application) bool{everyone, quiesceAgain} {
			if err := r.quiesce(ctx, may); err != nil {
				return err
			}
			if err := more(); err != nil {
				return err
			}
		}
		if predicted, known := forecast(rounds[len(rounds)-1]); known {
			converged = predicted <= budget
		}
	}
	last, known := forecast(rounds[len(rounds)-1])
	if !known {
		last = budget
	}
	desired, _ := r.node.View()
	if len(r.copied()) < len(r.sets) {
		last = max(last, usualAttach)
	}
	predicted, _ := predictGap(r.move, r.apps, desired, last)
	r.times.change(func(rep *cluster.MoveReport) {
		rep.Rounds, rep.Converged, rep.PredictedGap = len(rounds), converged, predicted
	})
	return nil
}

// copied are the datasets that are copied to the target: all but volumes of network storage.
func (r *run) copied() []*set {
	var sets []*set
	for _, s := range r.sets {
		if !r.node.attaches(s.dataset) {
			sets = append(sets, s)
		}
	}
	return sets
}

func everyone(cluster.Application) bool { return true }

func (r *run) hooked() bool {
	return slices.ContainsFunc(r.apps, func(a cluster.Application) bool { return quiesceOf(a) != nil })
}

// round copies every dataset once.
func (r *run) round(ctx context.Context, number int) (round, error) {
	name := fmt.Sprintf("copy round %d", number)
	done := r.times.measure(name)
	r.shown.step(name, number)
	start := time.Now()
	total := round{}
	for _, s := range r.copied() {
		total.fresh = total.fresh || s.base.Name == ""
		r.shown.expect(s.expected())
	}
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(copiesAtOnce)
	for _, s := range r.copied() {
		g.Go(func() error { return s.copy(sending) })
	}
	if err := g.Wait(); err != nil {
		return total, err
	}
	for _, s := range r.copied() {
		total.bytes += s.bytes
		total.since = max(total.since, s.since)
	}
	total.took = time.Since(start)
	r.times.change(func(rep *cluster.MoveReport) { rep.Bytes += total.bytes })
	done(total.bytes)
	return total, nil
}

// findBases finds the newest snapshot that both ends have, for each dataset.
func (r *run) findBases(ctx context.Context) error {
	reply, err := r.askTarget(ctx, false)
	if err != nil {
		return err
	}
	held, err := r.node.look(ctx, r.datasets()...)
	if err != nil {
		return err
	}
	for _, s := range r.copied() {
		id := s.dataset.ID
		s.here, s.there, s.partial = held.Copies[id].Snapshots, reply.Snapshots[id], reply.Partials[id]
		s.base = common(s.here, s.there)
		s.used = held.Copies[id].Used
		s.serial = 0
		for _, o := range slices.Concat(held.Copies[id].Snapshots, reply.Snapshots[id]) {
			if o.Epoch == s.dataset.Epoch {
				s.serial = max(s.serial, o.Serial)
			}
		}
	}
	return nil
}

// common is the newest snapshot with the same content here and there.
func common(here, there []cluster.Snapshot) cluster.Snapshot {
	var newest cluster.Snapshot
	for _, h := range here {
		same := slices.ContainsFunc(there, func(t cluster.Snapshot) bool {
			return t.ID == h.ID && t.Name == h.Name && t.ID != ""
		})
		if same && (newest.Name == "" || backend.Lineage{Epoch: h.Epoch, Serial: h.Serial}.Name() > newest.Name) {
			newest = h
		}
	}
	return newest
}

// set is one dataset on its way.
type set struct {
	run     *run
	dataset cluster.Dataset
	base    cluster.Snapshot   // newest that both ends have, verified; empty name is none
	here    []cluster.Snapshot // on this node, and
	there   []cluster.Snapshot // on the target, as far as this function knows
	serial  uint64             // last one used in this epoch
	used    int64              // what the dataset refers to
	bytes   int64              // of the last copy
	since   time.Duration      // between the snapshots of the last two copies
	taken   time.Time          // when the last snapshot was taken
	whole   bool               // the next copy goes without a base, though there is one
	stream  *transfer.Stream   // opened ahead for the last delta
	partial cluster.Partial    // what has arrived of a snapshot whose stream broke off
}

// expected estimates the bytes of the next copy; 0 is unknown.
func (s *set) expected() int64 {
	if s.base.Name == "" {
		return s.used
	}
	return 0
}

// copy sends the dataset once more; a link that comes and goes is borne for some minutes.
func (s *set) copy(ctx context.Context) error {
	pause, progress := newPauses(), time.Now()
	for {
		s.bytes = 0
		err := s.copyOnce(ctx)
		if err == nil {
			return nil
		}
		if s.bytes > 0 {
			pause, progress = newPauses(), time.Now()
		}
		if ctx.Err() != nil || hopeless(err) || time.Since(progress) > patience {
			return fmt.Errorf("copy dataset %s: %w", s.dataset.ID, errors.Join(err, context.Cause(ctx)))
		}
		s.run.node.Log.Warn("copy is tried again", "move", s.run.move.ID, "dataset", s.dataset.ID, "error", err)
		if err := pause.wait(ctx); err != nil {
			return err
		}
		if err := s.run.findBase(ctx, s); err != nil && hopeless(err) {
			return err
		}
		if unfit(err) {
			// Seen with btrfs: some differences that the kernel sends cannot be applied by anyone.
			s.base, s.whole = cluster.Snapshot{}, true
		}
	}
}

func unfit(err error) bool {
	refusal, ok := errors.AsType[*transfer.Error](err)
	return ok && refusal.Code == codeUnfit
}

// findBase learns again what the target has of one dataset, after a try that ended unknown.
func (r *run) findBase(ctx context.Context, s *set) error {
	reply, err := r.askTarget(ctx, false)
	if err != nil {
		return err
	}
	held, err := r.node.look(ctx, s.dataset)
	if err != nil {
		return err
	}
	id := s.dataset.ID
	s.here, s.there, s.partial = held.Copies[id].Snapshots, reply.Snapshots[id], reply.Partials[id]
	s.base = common(s.here, s.there)
	return nil
}

// hopeless says whether trying again would end the same way.
func hopeless(err error) bool {
	if refusal, ok := errors.AsType[*transfer.Error](err); ok {
		return refusal.Code == codeNoSpace || refusal.Code == codeRefused
	}
	return lasting(err) || errors.Is(err, cluster.ErrPrecondition) || errors.Is(err, backend.ErrNoSpace) || errors.Is(err, backend.ErrUnsupported)
}

func (s *set) copyOnce(ctx context.Context) error {
	rest, err := s.copyRest(ctx)
	if err != nil {
		return err
	}
	before, err := s.copyAhead(ctx)
	before += rest
	if err != nil {
		return err
	}
	s.whole = false
	snap, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	err = s.sendFit(ctx, snap)
	s.bytes += before
	return err
}

// copyRest completes a snapshot whose stream broke off, and says how many bytes that took. What cannot be completed is sent from its
// beginning, as if there were nothing.
func (s *set) copyRest(ctx context.Context) (int64, error) {
	defer func() { s.partial = cluster.Partial{} }()
	i := slices.IndexFunc(s.here, func(o cluster.Snapshot) bool { return o.Name == s.partial.Snapshot && o.ID == s.partial.ID })
	if i < 0 || s.partial.Token == "" || s.base.Name != "" {
		return 0, nil
	}
	err := s.sendOne(ctx, s.here[i])
	if errors.Is(err, backend.ErrUnfit) || unfit(err) {
		err = nil
	}
	return s.bytes, err
}

// completes says whether what is sent is the rest of a snapshot.
func (s *set) completes(snap cluster.Snapshot) bool { return s.partial.ID == snap.ID }

// sendFit sends a snapshot as a difference to the newest common one that it was made from. Others are of what a roll-back has undone.
func (s *set) sendFit(ctx context.Context, snap cluster.Snapshot) error {
	for {
		err := s.sendOne(ctx, snap)
		if !errors.Is(err, backend.ErrUnfit) || s.base.Name == "" {
			return err
		}
		s.base = s.commonBefore(s.base)
	}
}

// commonBefore is the newest snapshot that both ends have and that is older than another.
func (s *set) commonBefore(one cluster.Snapshot) cluster.Snapshot {
	return common(slices.DeleteFunc(slices.Clone(s.here), func(o cluster.Snapshot) bool { return o.Name >= one.Name }), s.there)
}

// sendOne sends a snapshot through a stream of its own; it is the base of the next.
func (s *set) sendOne(ctx context.Context, snap cluster.Snapshot) error {
	stream, err := s.open(ctx, snap, s.run.limit)
	if err != nil {
		return err
	}
	defer stream.Abort()
	if err := s.send(ctx, snap, stream); err != nil {
		return err
	}
	s.base, s.there = snap, append(slices.Clip(s.there), snap)
	return nil
}

// snapshot takes the next snapshot of the head.
func (s *set) snapshot(ctx context.Context) (cluster.Snapshot, error) {
	s.serial++
	at := time.Now()
	snap, err := s.run.node.pool(s.dataset).Snapshot(ctx, s.dataset.ID, backend.Lineage{Epoch: s.dataset.Epoch, Serial: s.serial})
	if err != nil {
		return snap, err
	}
	if !s.taken.IsZero() {
		s.since = at.Sub(s.taken)
	}
	s.taken, s.here = at, append(slices.Clip(s.here), snap)
	return snap, nil
}

func (s *set) open(ctx context.Context, snap cluster.Snapshot, limit *rate.Limiter) (*transfer.Stream, error) {
	m := s.run.move
	h := transfer.Header{
		Kind: transfer.KindSnapshot, Move: m.ID, Attempt: m.Attempt, Dataset: s.dataset.ID,
		Snapshot: snap, Base: s.base.Name, BaseID: s.base.ID,
	}
	if s.completes(snap) {
		h.Rest = s.partial.Token
	}
	target := s.run.target
	return s.run.node.Streams.Open(ctx, target.AgentAddress, target.ID, h, limit)
}

// send sends a snapshot and checks that what arrived is it.
func (s *set) send(ctx context.Context, snap cluster.Snapshot, stream *transfer.Stream) error {
	counted := &counter{w: stream, shown: s.run.shown}
	defer func() { s.bytes = counted.bytes }()
	if stream == s.stream { // opened before the snapshot was taken
		if err := announce(stream, snap); err != nil {
			return err
		}
	}
	pool, id := s.run.node.pool(s.dataset), s.dataset.ID
	var err error
	if s.completes(snap) {
		err = pool.SendRest(ctx, id, s.partial, counted)
	} else {
		err = pool.Send(ctx, id, snap.Name, s.base.Name, counted)
	}
	if err != nil {
		return err
	}
	reply, err := stream.CloseSend(ctx)
	if err != nil {
		return err
	}
	if reply.Snapshot.ID != snap.ID || reply.Snapshot.Name != snap.Name {
		return fmt.Errorf("the target has snapshot %s with other content than was sent (%s, not %s)", snap.Name, reply.Snapshot.ID, snap.ID)
	}
	return nil
}
