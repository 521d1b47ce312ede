// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/flocker-project/flocker/test/load"
)

const (
	knocks      = 100 // new connections a second to each database, all nodes together
	knockWithin = 10 * time.Second
)

// knocked is what new connections saw of one move, at the database's port of every node.
type knocked struct {
	Refused     int   `json:"refused"` // whatever the reason was that it did not come to be
	LongestWait int64 `json:"longest_wait_ms"`
	attempts    int
}

// knock begins to connect to the database at every node.
func (d *demo) knock(ctx context.Context, app string, everywhere []string) {
	c := &load.Connector{Addresses: everywhere, PerSecond: knocks, Within: knockWithin}
	c.Start(ctx)
	d.clients[app] = c
}

// knockedSince waits for those that were begun until now.
func (d *demo) knockedSince(ctx context.Context, app string, began time.Time) (knocked, error) {
	c := d.clients[app]
	if err := c.Settled(ctx, time.Now()); err != nil {
		return knocked{}, err
	}
	a := c.Since(began)
	return knocked{Refused: a.Bad(), LongestWait: a.Longest.Milliseconds(), attempts: a.Attempts}, nil
}

func (d *demo) stopKnocking() {
	for _, c := range d.clients {
		c.Stop()
	}
}
