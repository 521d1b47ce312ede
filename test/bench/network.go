// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

const (
	netRefused     = "network.move.refused"
	netLongestWait = "network.move.longest_wait"

	netPort   = 6420
	netRate   = 1000            // connections a second, all nodes together
	netWithin = 8 * time.Second // of one; the kernel tries after 1, 3 and 7 s again
	// netAllowed is how much longer than the gap a connection may wait.
	netAllowed = 50 * time.Millisecond
)

// networks measures what the cluster network does to clients.
func (b *bench) networks() []section {
	moves := &movesOfNetwork{bench: b}
	return []section{{[]string{netRefused, netLongestWait}, moves.run}, b.ports("local", "node1"), b.ports("remote", "node2"), b.change()}
}

// movesOfNetwork moves a server while clients connect to its port on every node.
type movesOfNetwork struct {
	*bench
	clients *load.Connector

	attempts, bad int
	worst, gap    time.Duration // the move whose longest wait was most over its gap
}

func (m *movesOfNetwork) run(ctx context.Context) (all []result, err error) {
	if err := m.load(ctx, redisImage); err != nil {
		return nil, err
	}
	const app = "bench-network"
	application := fmt.Sprintf(`version: 2
applications:
  %[1]s:
    image: %[2]s
    command: [redis-server, --appendonly, "yes", --appendfsync, always, --save, ""]
    ports: [{internal: 6379, external: %[3]d}]
    volumes: [{dataset: %[1]s-data, mountpoint: /data}]
    hooks: {preset: redis}
`, app, redisImage, netPort)
	if err := m.lab.Deploy(ctx, application, "version: 1\nnodes:\n  node1: ["+app+"]\n"); err != nil {
		return nil, err
	}
	defer func() {
		if left := m.remove(context.WithoutCancel(ctx), app, app+"-data"); err == nil {
			err = left
		}
	}()
	for _, address := range m.lab.Everywhere(netPort) {
		err := m.lab.Until(ctx, address+" to answer", func() (bool, error) {
			c, err := dialResp(ctx, address)
			if err != nil {
				return false, err
			}
			return true, c.Close()
		})
		if err != nil {
			return nil, err
		}
	}
	if err := load.FillRedis(ctx, m.lab.Everywhere(netPort)[0], 2000, 1000); err != nil {
		return nil, fmt.Errorf("fill redis: %w", err)
	}
	if err := m.underConnections(ctx, app); err != nil {
		return nil, err
	}
	return []result{
		newResult(netRefused, float64(m.bad), "connections", float64(m.attempts)),
		inMilliseconds(netLongestWait, m.worst, m.gap),
	}, nil
}

func (m *movesOfNetwork) underConnections(ctx context.Context, app string) error {
	m.clients = &load.Connector{Addresses: m.lab.Everywhere(netPort), PerSecond: netRate, Within: netWithin}
	ctx, cancel := context.WithCancel(ctx)
	m.clients.Start(ctx)
	defer m.clients.Stop()
	defer cancel() // what is still under way is given up
	begun := time.Now()
	pause(ctx, 3*time.Second)
	quiet := m.clients.Since(begun)
	say("   without a move: %d connections, longest wait %.1f ms, %d refused or reset", quiet.Attempts, milliseconds(quiet.Longest), quiet.Bad())
	if quiet.Bad() > 0 {
		return fmt.Errorf("connections fail before anything moves: %w", quiet.Last)
	}
	for i := range choose(m.bench, 20, 5) {
		if err := m.move(ctx, app, lab.Node(1+(i+1)%m.lab.Nodes)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// move measures one move, and looks for the cause where somebody waited longer than the gap allows.
func (m *movesOfNetwork) move(ctx context.Context, app, to string) error {
	before, err := m.drops(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	done, err := m.lab.Move(ctx, app, to)
	if err != nil {
		return err
	}
	if done.Report == nil {
		return fmt.Errorf("move %s to %s has no report", app, to)
	}
	pause(ctx, time.Second)
	if err := m.clients.Settled(ctx, time.Now()); err != nil {
		return err
	}
	seen, gap := m.clients.Since(began), done.Report.Gap.Std()
	m.attempts, m.bad = m.attempts+seen.Attempts, m.bad+seen.Bad()
	if over := seen.Longest - gap; m.gap == 0 || over > m.worst {
		m.worst, m.gap = over, gap
	}
	say("   to %s: gap %d ms, longest wait %d ms; of %d connections %d refused, %d reset, %d not answered, %d failed here; %s", to,
		gap.Milliseconds(), seen.Longest.Milliseconds(), seen.Attempts, seen.Refused, seen.Reset, seen.TimedOut, seen.Failed, inGap(*done.Report))
	if seen.Bad() > 0 {
		say("      the last reason: %v", seen.Last)
	}
	if seen.Bad() == 0 && seen.Longest <= gap+netAllowed {
		return nil
	}
	m.showLate(began, gap)
	return m.showDrops(ctx, before)
}

// netSpan is what the change of the network itself took of a move.
func netSpan(r cluster.MoveReport) (took time.Duration) {
	for _, p := range r.Phases {
		if p.Name == "hold" || p.Name == "expose" {
			took += p.Took.Std()
		}
	}
	return took
}
