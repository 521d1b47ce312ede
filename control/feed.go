// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// errReplaced ends a stream whose agent has connected anew.
var errReplaced = errors.New("the agent has opened another stream")

// errRestart ends a pass of a feed that must begin with a full state again.
var errRestart = errors.New("a full state is due")

// stream is an agent's connected watch; while it lives, so does the session.
type stream struct {
	session string
	cancel  context.CancelCauseFunc
	done    chan struct{}
}

func (s *Service) attached(session store.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[session.Node]
	return st != nil && st.session == session.ID
}

// Feed sends a node what it should be: everything, then differences, and keeps
// its session alive until ctx ends. From is the revision that the agent has; 0 is none.
// send is called by one goroutine at a time.
func (s *Service) Feed(ctx context.Context, node cluster.NodeID, session string, from cluster.Revision, send func(api.WatchEvent) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	st := &stream{session: session, cancel: cancel, done: make(chan struct{})}
	defer close(st.done)
	if err := s.replaceStream(ctx, node, st); err != nil {
		return err
	}
	lease, err := s.attach(ctx, node, session)
	if err != nil {
		s.dropStream(node, st)
		return fmt.Errorf("watch as node %s: %w", node, err)
	}
	defer s.detach(node, st)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.keepAlive(ctx, lease) })
	g.Go(func() error { return s.feed(ctx, node, session, from, send) })
	err = g.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errReplaced) {
		err = cause
	}
	return fmt.Errorf("watch as node %s: %w", node, err)
}

// replaceStream ends the node's former stream, which is a connection that died unnoticed.
func (s *Service) replaceStream(ctx context.Context, node cluster.NodeID, st *stream) error {
	s.mu.Lock()
	former := s.streams[node]
	s.streams[node] = st
	s.mu.Unlock()
	if former == nil {
		return nil
	}
	former.cancel(errReplaced)
	select {
	case <-former.done:
		return nil
	case <-ctx.Done():
		s.dropStream(node, st)
		return ctx.Err()
	}
}

func (s *Service) dropStream(node cluster.NodeID, st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[node] != st {
		return false
	}
	delete(s.streams, node)
	return true
}

// attach notes in the session that this process holds its stream.
func (s *Service) attach(ctx context.Context, node cluster.NodeID, id string) (int64, error) {
	var lease int64
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		session, err := checkSession(ctx, tx, node, id)
		if err != nil || session.Holder == s.instance {
			lease = session.Lease
			return err
		}
		lease, session.Holder = session.Lease, s.instance
		return store.PutLeased(tx, store.Sessions.Under(string(node)), session, session.Lease)
	})
	return lease, err
}

// detach leaves the session to its time-out. It works on after the stream's own context has ended.
func (s *Service) detach(node cluster.NodeID, st *stream) {
	if !s.dropStream(node, st) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		session, err := checkSession(ctx, tx, node, st.session)
		if err != nil || session.Holder != s.instance {
			return err
		}
		session.Holder = ""
		return store.PutLeased(tx, store.Sessions.Under(string(node)), session, session.Lease)
	})
	if err != nil && !errors.Is(err, cluster.ErrPrecondition) {
		s.log.Warn("could not release a node's session", "node", node, "error", err)
	}
}

func (s *Service) keepAlive(ctx context.Context, lease int64) error {
	for {
		err := s.store.KeepAlive(ctx, lease)
		switch {
		case errors.Is(err, cluster.ErrNotFound):
			return fmt.Errorf("the session is over: %w", cluster.ErrPrecondition)
		case err != nil && ctx.Err() == nil:
			s.log.Warn("could not keep a session alive", "error", err) // the store's trouble; the next try is soon
		}
		select {
		case <-time.After(api.NextBeat(time.Now(), SessionTTL/4)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// feed starts over with a full state whenever differences are not enough.
func (s *Service) feed(ctx context.Context, node cluster.NodeID, session string, from cluster.Revision, send func(api.WatchEvent) error) error {
	for {
		err := s.feedOnce(ctx, node, session, from, send)
		if !errors.Is(err, errRestart) && !errors.Is(err, cluster.ErrGone) {
			return err
		}
		from = 0
	}
}

func (s *Service) feedOnce(ctx context.Context, node cluster.NodeID, session string, from cluster.Revision, send func(api.WatchEvent) error) error {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return err
	}
	if w.meta.Unconfirmed {
		return s.awaitConfirmation(ctx, w.revision, send)
	}
	if from == 0 || from > w.revision {
		full := w.desired(session)
		if err := send(api.WatchEvent{Revision: w.revision, Full: &full}); err != nil {
			return err
		}
		from = w.revision
	}
	return s.store.Watch(ctx, from+1, func(b store.Batch) error {
		e, err := difference(w, node, b)
		if err != nil {
			return err
		}
		return send(e)
	})
}

// awaitConfirmation tells the agent nothing of a store that was restored from a
// backup: what it says may long be otherwise, and without a state to act on an agent only reports.
func (s *Service) awaitConfirmation(ctx context.Context, rev cluster.Revision, send func(api.WatchEvent) error) error {
	if err := send(api.WatchEvent{}); err != nil {
		return err
	}
	return s.store.Watch(ctx, rev+1, func(b store.Batch) error {
		for _, c := range b.Changes {
			if c.Key == string(store.MetaKey) {
				return errRestart
			}
		}
		return nil
	})
}
