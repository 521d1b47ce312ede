// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// errUnopened is what a back end answers that was never opened, or was closed.
var errUnopened = errors.New("it is not open")

// pace says when something that failed may be tried again; converge.Backoff is one.
type pace interface {
	Ready(object string) bool
	Failed(object string) (failures int, due time.Time)
	Succeeded(object string)
}

// Later is a driver that need not open at once: whoever looks at it tries again. Until it is open every call fails with the reason,
// and nothing is known of what it can do.
type Later struct {
	name  string
	open  func(context.Context) (Driver, error)
	pace  pace
	turns turns

	mu     sync.Mutex
	driver Driver // nil until it is open
	err    error  // why it is not
	closed bool
}

// OpenLater makes such a driver of the back end of that name.
func OpenLater(name string, open func(context.Context) (Driver, error), again pace) *Later {
	return &Later{name: name, open: open, pace: again, err: errUnopened}
}

// Open opens it where it is not open and is due to be tried again. What does not come back in time goes on, and nothing is begun beside it.
func (l *Later) Open(ctx context.Context) error {
	_, err := inTurn(ctx, &l.turns, "open", func(ctx context.Context) (struct{}, error) { return struct{}{}, l.try(ctx) })
	return err
}

func (l *Later) try(ctx context.Context) error {
	l.mu.Lock()
	opened, err, closed := l.driver != nil, l.err, l.closed
	l.mu.Unlock()
	if opened || closed || !l.pace.Ready(l.name) {
		return err
	}
	driver, err := l.open(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err != nil {
		l.pace.Failed(l.name)
		return err
	}
	l.pace.Succeeded(l.name)
	if l.closed {
		l.err = errUnopened
		return errors.Join(errUnopened, closeDriver(driver))
	}
	l.driver = driver
	return nil
}

// Unwrap is the driver, once it is open.
func (l *Later) Unwrap() Driver {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.driver == nil {
		return absent{fmt.Errorf("back end %s is not open: %w", l.name, l.err)}
	}
	return l.driver
}

// Close closes it for good, also what is still being opened.
func (l *Later) Close() error {
	l.turns.settle(closeWithin)
	l.mu.Lock()
	defer l.mu.Unlock()
	driver := l.driver
	l.driver, l.closed, l.err = nil, true, errUnopened
	if driver == nil {
		return nil
	}
	return closeDriver(driver)
}

// closeDriver closes the first of a driver and what it wraps that can be closed.
func closeDriver(driver Driver) error {
	for {
		if closer, ok := driver.(io.Closer); ok {
			return closer.Close()
		}
		wrapper, ok := driver.(Wrapper)
		if !ok {
			return nil
		}
		driver = wrapper.Unwrap()
	}
}

// List opens the driver where it is not, and asks it.
func (l *Later) List(ctx context.Context) ([]cluster.Copy, error) {
	if err := l.Open(ctx); err != nil {
		return nil, err
	}
	return l.Unwrap().List(ctx)
}

// Create asks the driver.
func (l *Later) Create(ctx context.Context, spec Spec) error { return l.Unwrap().Create(ctx, spec) }

// Destroy asks the driver.
func (l *Later) Destroy(ctx context.Context, id cluster.DatasetID) error {
	return l.Unwrap().Destroy(ctx, id)
}

// SetEpoch asks the driver.
func (l *Later) SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	return l.Unwrap().SetEpoch(ctx, id, epoch, scratch)
}

// absent stands for a back end that the node does not have, or that is not open.
type absent struct{ why error }

func (a absent) Create(context.Context, Spec) error { return a.why }

func (a absent) Destroy(context.Context, cluster.DatasetID) error { return a.why }

func (a absent) List(context.Context) ([]cluster.Copy, error) { return nil, a.why }

func (a absent) SetEpoch(context.Context, cluster.DatasetID, cluster.Epoch, cluster.MoveID) error {
	return a.why
}
