// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/lab"
)

const (
	changeElements = "network.change.1000apps"
	changeTime     = "network.change.1000apps.time"

	runningApps = 30
	allApps     = 1000
	appsPort    = 10_000 // of the first; the next have the next
	offNode     = "node3"
)

// change compares what a move changes in the network of a cluster of many applications with that of few. Only the few run: the others
// belong to a node that is switched off, so that nothing is tried for them, while every node has their ports and names.
func (b *bench) change() section {
	return section{[]string{changeElements, changeTime}, func(ctx context.Context) (all []result, err error) {
		if err := b.load(ctx, redisImage); err != nil {
			return nil, err
		}
		after := context.WithoutCancel(ctx)
		defer func() { err = errors.Join(err, b.removeApps(after)) }()
		if err := b.deployApps(ctx, 0, runningApps, func(i int) string { return lab.Node(1 + i%2) }); err != nil {
			return nil, err
		}
		few, err := b.changes(ctx, runningApps)
		if err != nil {
			return nil, err
		}
		if _, err := b.lab.Dev(ctx, "stop", offNode); err != nil {
			return nil, err
		}
		if err := b.deployApps(ctx, runningApps, allApps, func(int) string { return offNode }); err != nil {
			return nil, err
		}
		many, err := b.changes(ctx, allApps)
		if err != nil {
			return nil, err
		}
		return []result{
			newResult(changeElements, float64(many.elements), "elements", float64(few.elements)),
			inMilliseconds(changeTime, many.took, few.took),
		}, nil
	}}
}

func appName(i int) string { return fmt.Sprintf("bench-many-%04d", i) }

// deployApps deploys applications from number first to before number end. All have a port; they wait for nothing but their containers.
func (b *bench) deployApps(ctx context.Context, first, end int, node func(int) string) error {
	var r api.DeployRequest
	for i := first; i < end; i++ {
		r.Applications = append(r.Applications, cluster.Application{
			Name: appName(i), Image: redisImage, Node: cluster.NodeID(node(i)), Command: serverCommand(),
			Ports: []cluster.Port{{Internal: 6379, External: appsPort + i}},
		})
	}
	begun := time.Now()
	if _, err := b.client.Deploy(ctx, r); err != nil {
		return fmt.Errorf("deploy %d applications: %w", end-first, err)
	}
	say("   %d applications deployed in %d ms", end-first, time.Since(begun).Milliseconds())
	err := b.until(ctx, "the applications to run", func() (bool, error) {
		apps, err := b.client.Applications(ctx)
		running := 0
		for _, a := range apps {
			if c := a.Container; c != nil && c.State == cluster.ContainerRunning && c.GateOpen && a.NodeName != offNode {
				running++
			}
		}
		return running == runningApps, err
	})
	if err != nil {
		return err
	}
	for _, n := range []string{"node1", "node2"} {
		err := b.until(ctx, n+" to have all ports", func() (bool, error) {
			out, err := b.lab.Exec(ctx, n, "nft", "list", "map", "ip", "flocker", "published")
			return strings.Count(string(out), " : ")-1 >= end, err // one is in the map's type
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeApps removes all applications that are there, and boots the node again, without which they would not go.
func (b *bench) removeApps(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downWithin)
	defer cancel()
	if _, err := b.client.Deploy(ctx, api.DeployRequest{Prune: true}); err != nil {
		return fmt.Errorf("remove all applications: %w", err)
	}
	if _, err := b.lab.Dev(ctx, "start", offNode); err != nil {
		return err
	}
	return b.until(ctx, "all applications to go", func() (bool, error) {
		left, err := b.client.Applications(ctx)
		return len(left) == 0, err
	})
}

// changed is what one move changes in the network.
type changed struct {
	elements int            // of the rules, on both nodes together
	kinds    map[string]int // the same by what it was
	took     time.Duration
}

// changes moves one application some times, and returns the medians: how many elements there are to change depends on whether a hold
// of the move before is still there, for half a minute.
func (b *bench) changes(ctx context.Context, apps int) (middle changed, err error) {
	var times []time.Duration
	var elements []int
	for i := range choose(b, 10, 4) {
		one, err := b.changeOf(ctx, lab.Node(2-i%2))
		if err != nil {
			return middle, err
		}
		say("   with %d applications: %d elements changed in %.1f ms: %s", apps, one.elements, milliseconds(one.took), one)
		elements, times = append(elements, one.elements), append(times, one.took)
	}
	slices.Sort(elements)
	return changed{elements: elements[len(elements)/2], took: median(times)}, nil
}

const (
	beginWatch = `nft monitor >/run/bench-monitor 2>&1 & echo $!`
	// endWatch prints what was seen: a change that comes last is not to be missed, so it makes one of its own and waits for that.
	endWatch = `nft add table ip benchmark
until grep -q benchmark /run/bench-monitor; do sleep 0.05; done
kill %s; grep -v benchmark /run/bench-monitor; nft delete table ip benchmark; rm /run/bench-monitor`
)

// changeOf moves the first application and counts on both nodes what changes meanwhile.
func (b *bench) changeOf(ctx context.Context, to string) (one changed, err error) {
	nodes := []string{"node1", "node2"}
	watches := map[string]string{}
	for _, n := range nodes {
		out, err := b.lab.Exec(ctx, n, "sh", "-c", beginWatch)
		if err != nil {
			return one, err
		}
		watches[n] = strings.TrimSpace(string(out))
	}
	m, err := b.lab.Move(ctx, appName(0), to)
	one.kinds = map[string]int{}
	for _, n := range nodes {
		seen, failed := b.lab.Exec(ctx, n, "sh", "-c", fmt.Sprintf(endWatch, watches[n]))
		err = errors.Join(err, failed)
		one.count(string(seen))
	}
	if err != nil {
		return one, err
	}
	if m.Report == nil {
		return one, fmt.Errorf("move %s to %s has no report", appName(0), to)
	}
	one.took = netSpan(*m.Report)
	return one, nil
}

// count adds the elements that nft saw come and go, and everything else as one each.
func (c *changed) count(seen string) {
	for line := range strings.Lines(seen) {
		words := strings.Fields(line)
		if len(words) < 5 || (words[0] != "add" && words[0] != "delete") {
			continue
		}
		n := 1 + strings.Count(line, ", ")
		c.elements += n
		c.kinds[words[0]+" "+words[1]+" "+words[2]+" "+words[4]] += n
	}
}

func (c changed) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(c.kinds)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, c.kinds[kind]))
	}
	return strings.Join(parts, ", ")
}
