// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// churnPace is the pause between two changes: near 100 a second, each to a page of its own.
const churnPace = 10 * time.Millisecond

// startChurn changes accounts of pgbench at random, so that there is something to copy
// again. It goes on after every error, on the next address. What it returns ends it and
// says how many it changed.
func startChurn(ctx context.Context, addresses []string, scale int) (stop func() int) {
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan int)
	go func() {
		n := 0
		for i := 0; ctx.Err() == nil; i++ {
			n += churn(ctx, addresses[i%len(addresses)], scale)
			pause(ctx, churnPace)
		}
		changed <- n
	}()
	return func() int { cancel(); return <-changed }
}

// churn changes accounts over one connection until that breaks.
func churn(ctx context.Context, address string, scale int) (changed int) {
	try, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := pgx.Connect(try, "postgres://postgres:"+password+"@"+address+"/postgres?sslmode=disable")
	if err != nil {
		return 0
	}
	defer func() {
		end, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		_ = c.Close(end) // mostly of a connection that is broken
	}()
	for ctx.Err() == nil {
		once, done := context.WithTimeout(ctx, time.Second)
		_, err := c.Exec(once, `UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = $1`, 1+rand.IntN(100_000*scale))
		done()
		if err != nil {
			return changed
		}
		changed++
		pause(ctx, churnPace)
	}
	return changed
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
