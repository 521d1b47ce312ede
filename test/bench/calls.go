// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"time"

	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

// bareCalls are those of a bare client that brings a volume from node to node: detach and attach.
const bareCalls = 2

// storeQuiet is longer than what follows a change in an agent.
const storeQuiet = 5 * time.Second

// calls counts what is asked of network storage, in a move and while nothing happens, by the agents' logs.
func (b *bench) calls() section {
	perMove, perHour := "calls."+b.lab.Backend+".move", "calls."+b.lab.Backend+".idle"
	return section{[]string{perMove, perHour}, func(ctx context.Context) (all []result, err error) {
		if _, err := b.lab.Dev(ctx, "up", "--nodes", fmt.Sprint(b.lab.Nodes), "--log-level", "debug"); err != nil {
			return nil, err
		}
		err = b.onVolume(ctx, func(w *load.Writer) error {
			moves := choose(b, 10, 4)
			moved, err := b.callsDuring(ctx, func() error {
				for i := range moves {
					if _, err := b.lab.Move(ctx, "kv", lab.Node(2-i%2)); err != nil {
						return err
					}
					if err := w.WaitFor(ctx, settle); err != nil {
						return err
					}
				}
				pause(ctx, storeQuiet)
				return nil
			})
			if err != nil {
				return err
			}
			during := choose(b, 2*time.Minute, 30*time.Second)
			idle, err := b.callsDuring(ctx, func() error { pause(ctx, during); return nil })
			if err != nil {
				return err
			}
			say("   in %d moves: %v; in %v without: %v", moves, moved, during, idle)
			all = []result{
				newResult(perMove, float64(sum(moved))/float64(moves), "calls", bareCalls),
				newResult(perHour, float64(sum(idle))*float64(time.Hour)/float64(during), "calls", 0),
			}
			return nil
		})
		return all, err
	}}
}

// callsDuring counts the calls of the store by what they are.
func (b *bench) callsDuring(ctx context.Context, do func() error) (map[string]int, error) {
	pause(ctx, storeQuiet)
	before, err := b.storeCalls(ctx)
	if err != nil {
		return nil, err
	}
	if before["list"] == 0 { // every agent's first
		return nil, errors.New("the agents' logs tell of no call of the store")
	}
	if err := do(); err != nil {
		return nil, err
	}
	after, err := b.storeCalls(ctx)
	if err != nil {
		return nil, err
	}
	for op, n := range before {
		if after[op] < n {
			return nil, errors.New("the agents' logs have lost calls of the store, because they grew too large")
		}
		after[op] -= n
	}
	maps.DeleteFunc(after, func(_ string, n int) bool { return n == 0 })
	return after, nil
}

var storeCall = regexp.MustCompile(`(?m) msg="store call" op=(\w+) `)

func (b *bench) storeCalls(ctx context.Context) (map[string]int, error) {
	found := map[string]int{}
	for _, node := range b.lab.NodeNames() {
		log, err := b.lab.Exec(ctx, node, "sh", "-c", "cat /var/log/flocker/agent.log.1 /var/log/flocker/agent.log 2>/dev/null | grep -a 'store call'; true")
		if err != nil {
			return nil, err
		}
		for _, match := range storeCall.FindAllSubmatch(log, -1) {
			found[string(match[1])]++
		}
	}
	return found, nil
}

func sum(of map[string]int) (n int) {
	for _, one := range of {
		n += one
	}
	return n
}
