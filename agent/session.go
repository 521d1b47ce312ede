// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// longestReconnect bounds the pause between tries to reach the control service.
const longestReconnect = 2 * time.Second

// keepSession holds the node's session and follows the desired state until ctx ends.
// While control is away everything that runs goes on running.
func (a *Agent) keepSession(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := a.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > longestReconnect {
			failures = 0
		}
		failures++
		if failures == 1 {
			a.Log.Warn("connection to the control service ended; everything goes on as it is", "error", err)
		} else {
			a.Log.Debug("the control service is not reached", "failures", failures, "error", err)
		}
		pause := time.NewTimer(min(50*time.Millisecond<<min(failures, 8), longestReconnect))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// followOnce opens a session and watches until the stream ends.
func (a *Agent) followOnce(ctx context.Context) error {
	session, err := a.Link.OpenSession(ctx, a.Self)
	if err != nil {
		return fmt.Errorf("open the session of node %s: %w", a.Node, err)
	}
	if a.mirror.begin(session) {
		a.Pools.Refresh() // while this node was not heard its volumes may have been taken from it
	}
	a.status.forget()
	a.Log.Info("session open", "session", session.ID)
	a.wake.Wake()
	desired, _ := a.mirror.read()
	from := desired.Revision
	if !desired.Complete {
		from = 0
	}
	err = a.Link.Watch(ctx, session.ID, from, func(e api.WatchEvent) error {
		if a.mirror.apply(e) {
			a.notice(e)
			a.wake.Wake()
		}
		return nil
	})
	if errors.Is(err, cluster.ErrGone) || errors.Is(err, cluster.ErrPrecondition) {
		a.mirror.incomplete()
	}
	return err
}

// notice tells running moves what the store says of them.
func (a *Agent) notice(e api.WatchEvent) {
	if e.Full != nil {
		for _, m := range e.Full.Moves {
			a.mover.Notice(m)
		}
	}
	if e.Put != nil {
		for _, m := range e.Put.Moves {
			a.mover.Notice(m)
		}
	}
}
