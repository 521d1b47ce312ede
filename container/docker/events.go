// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// reconnectFirst and reconnectMost bound the wait between attempts to reach an engine that is away.
const (
	reconnectFirst = 100 * time.Millisecond
	reconnectMost  = 5 * time.Second
)

// Events signals after each change and each connection, the first included; an engine that is away is not an error.
func (e *Engine) Events(ctx context.Context) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	go e.follow(ctx, changed)
	return changed, nil
}

func (e *Engine) follow(ctx context.Context, changed chan<- struct{}) {
	defer close(changed)
	wait := reconnectFirst
	for ctx.Err() == nil {
		since := time.Now()
		err := e.stream(ctx, changed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(since) > reconnectMost {
			wait = reconnectFirst
		}
		e.log.Info("docker's events ended, connecting again", "wait", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, reconnectMost)
	}
}

// stream follows one connection to its end.
func (e *Engine) stream(ctx context.Context, changed chan<- struct{}) error {
	filters := make(client.Filters).Add("type", string(events.ContainerEventType)).
		Add("event", "create", "start", "die", "destroy", "pause", "unpause", "rename", "oom")
	stream := e.api.Events(ctx, client.EventsListOptions{Filters: filters})
	select {
	case err := <-stream.Err:
		return err
	default:
		signal(changed)
	}
	for {
		select {
		case <-stream.Messages:
			signal(changed)
		case err := <-stream.Err:
			return err
		}
	}
}

// signal adds to a channel that holds at most one.
func signal(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}
