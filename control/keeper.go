// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// keptMoves is how many ended moves are kept for users to read.
const keptMoves = 1000

// Keep does what follows from others' changes: it keeps when a node was last
// heard, forgets the oldest ended moves, and tells progress how far the store
// has come. It returns only when ctx ends.
func (s *Service) Keep(ctx context.Context, progress func(cluster.Revision)) error {
	for {
		err := s.keep(ctx, progress)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, cluster.ErrGone) {
			s.log.Warn("following the store failed; trying again", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Service) keep(ctx context.Context, progress func(cluster.Revision)) error {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return err
	}
	if err := s.pruneMoves(ctx, w); err != nil {
		return err
	}
	if err := s.addressThose(ctx, w); err != nil {
		return err
	}
	progress(w.revision)
	return s.store.Watch(ctx, w.revision+1, func(b store.Batch) error {
		for _, c := range b.Changes {
			if err := s.follow(ctx, c); err != nil {
				return err
			}
		}
		progress(b.Revision)
		return nil
	})
}

func (s *Service) follow(ctx context.Context, c store.Change) error {
	if node, ok := strings.CutPrefix(c.Key, string(store.Sessions)); ok && c.Deleted() {
		s.log.Info("a node's session is over", "node", node)
		return s.endSession(ctx, cluster.NodeID(node))
	}
	return s.followApplication(ctx, c)
}

// followApplication gives an application of an earlier version its address when the move that it was in has ended.
func (s *Service) followApplication(ctx context.Context, c store.Change) error {
	name, ok := strings.CutPrefix(c.Key, string(store.Applications))
	if !ok || c.Deleted() {
		return nil
	}
	a, err := store.Value(c, store.Applications)
	if err != nil || !lacksAddress(a) {
		return err
	}
	_, err = s.address(ctx, []store.Holder{store.ApplicationHolder(name)})
	if errors.Is(err, cluster.ErrConflict) {
		s.log.Error("an application has no address in the cluster network", "application", name, "error", err)
		return nil
	}
	return err
}

// pruneMoves runs when the service starts; between two starts there is room enough.
func (s *Service) pruneMoves(ctx context.Context, w *world) error {
	var ended []cluster.Move
	for _, m := range w.moves {
		if m.Phase.Terminal() {
			ended = append(ended, m)
		}
	}
	slices.SortFunc(ended, func(a, b cluster.Move) int {
		return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.ID, b.ID))
	})
	for len(ended) > keptMoves {
		old := ended[keptMoves:]
		old = old[:min(len(old), s.store.MaxOps()/4)]
		_, err := s.store.Update(ctx, func(tx *store.Tx) error {
			for _, m := range old {
				store.Delete(tx, store.Moves.Under(string(m.ID)))
			}
			return nil
		})
		if err != nil {
			return err
		}
		ended = slices.Delete(ended, keptMoves, keptMoves+len(old))
	}
	return nil
}
