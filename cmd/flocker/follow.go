// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// tryAgain is how soon a broken stream is begun again.
const tryAgain = 500 * time.Millisecond

// follower shows moves as they go on, several at once.
type follower interface {
	// update is called with each move whenever it has changed.
	update(api.MoveInfo) error
	// note tells what is not about a move's state.
	note(text string) error
	// end leaves what was shown in order.
	end()
}

// followOne follows a move to its end and shows it as it is then.
func followOne(ctx context.Context, c *api.Client, p printer, id cluster.MoveID) error {
	progress := p
	if p.json {
		progress.out, progress.json, progress.terminal = io.Discard, false, false
	}
	ended, err := follow(ctx, c, progress, []cluster.MoveID{id})
	if err != nil {
		return err
	}
	if err := p.show(ended[0], func() error { return p.ended(ended[0]) }); err != nil {
		return err
	}
	return outcome(ended[0])
}

// followAll follows moves to their ends; it fails when any of them does.
func followAll(ctx context.Context, c *api.Client, p printer, ids []cluster.MoveID) error {
	if len(ids) == 0 {
		return nil
	}
	ended, err := follow(ctx, c, p, ids)
	for _, m := range ended {
		if m.Phase.Terminal() {
			err = errors.Join(err, outcome(m))
		}
		if m.Phase.Terminal() && !p.json {
			err = errors.Join(err, p.ended(m))
		}
	}
	return err
}

func outcome(m api.MoveInfo) error {
	if m.Phase == cluster.MoveAborted || m.Phase == cluster.MoveTakenBack {
		return &moveError{m}
	}
	return nil
}

// follow shows moves until all have ended. When interrupted it says how to go on: the moves do.
func follow(ctx context.Context, c *api.Client, p printer, ids []cluster.MoveID) ([]api.MoveInfo, error) {
	shown := p.follower()
	ended, errs := make([]api.MoveInfo, len(ids)), make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { ended[i], errs[i] = watch(ctx, c, id, shown) })
	}
	wg.Wait()
	shown.end()
	err := errors.Join(errs...)
	if ctx.Err() != nil {
		for _, m := range ended {
			if !m.Phase.Terminal() && m.ID != "" {
				p.log.Info(fmt.Sprintf("the move goes on; see \"flocker moves %s --watch\", or cancel it with \"flocker moves cancel %[1]s\"", short(string(m.ID)))) //nolint:sloglint // a sentence for a person
			}
		}
	}
	return ended, err
}

// watch follows one move; a control service that is away is waited for, since the move goes on without it.
func watch(ctx context.Context, c *api.Client, id cluster.MoveID, shown follower) (api.MoveInfo, error) {
	var last api.MoveInfo
	away := false
	for {
		err := c.WatchMove(ctx, string(id), func(m api.MoveInfo) error {
			last, away = m, false
			return shown.update(m)
		})
		switch {
		case last.Phase.Terminal():
			return last, nil
		case ctx.Err() != nil:
			return last, ctx.Err()
		case err != nil && !errors.Is(err, cluster.ErrUnavailable):
			return last, fmt.Errorf("follow move %s: %w", id, err)
		}
		if !away {
			away = true
			if err := shown.note(fmt.Sprintf("The control service is not reached; waiting for news of move %s.", short(string(id)))); err != nil {
				return last, err
			}
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
		}
	}
}

// moved names what a move takes along.
func moved(m api.MoveInfo) string {
	if len(m.Applications) > 0 {
		return strings.Join(m.Applications, ", ")
	}
	names := make([]string, len(m.Datasets))
	for i, id := range m.Datasets {
		names[i] = "dataset " + short(string(id))
	}
	return strings.Join(names, ", ")
}

// doing says in a few words what a move does now.
func doing(m api.MoveInfo) string {
	text := string(m.Phase)
	if m.Progress != nil && m.Progress.Step != "" && m.Phase.BeforeHandOver() {
		text = m.Progress.Step
	}
	if m.Phase == cluster.MoveCleaned {
		text = "done"
	}
	if m.CancelRequested && m.Phase.BeforeHandOver() {
		text += ", to be cancelled"
	}
	return text
}
