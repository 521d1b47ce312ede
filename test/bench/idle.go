// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/test/lab"
)

const idleDatasets = 200

// clockTick is the unit of processor time in /proc, the same on every Linux.
const clockTick = 10 * time.Millisecond

// idle measures what control and agents use while nothing happens.
func (b *bench) idle() section {
	return section{[]string{"idle.cpu", "idle.memory"}, func(ctx context.Context) (all []result, err error) {
		names := make([]string, idleDatasets)
		for i := range names {
			names[i] = fmt.Sprintf("idle-%03d", i)
			if _, err := b.client.CreateDataset(ctx, api.DatasetRequest{Name: names[i], Node: lab.Node(1 + i%b.lab.Nodes)}); err != nil {
				return nil, err
			}
		}
		defer func() { err = errors.Join(err, b.removeAll(ctx, names)) }()
		err = b.until(ctx, "all datasets to be mounted", func() (bool, error) {
			mounted, err := b.client.Datasets(ctx)
			n := 0
			for _, d := range mounted {
				if d.Path != "" {
					n++
				}
			}
			return n == idleDatasets, err
		})
		if err != nil {
			return nil, err
		}
		pause(ctx, choose(b, 20*time.Second, 10*time.Second))
		return b.watchIdle(ctx, choose(b, time.Minute, 30*time.Second))
	}}
}

// watchIdle compares the processor time before and after.
func (b *bench) watchIdle(ctx context.Context, during time.Duration) ([]result, error) {
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	pause(ctx, during)
	took := time.Since(begun)
	after, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	var share float64
	var flocker, docker int64
	for who, now := range after {
		if strings.HasSuffix(who, " dockerd") {
			docker += now.memory
			continue
		}
		part := 100 * (now.cpu - before[who].cpu).Seconds() / took.Seconds()
		say("   %s: %.2f %% of one core, %d MiB", who, part, now.memory>>20)
		share += part
		flocker += now.memory
	}
	return []result{
		newResult("idle.cpu", share, "%", 1),
		newResult("idle.memory", float64(flocker>>20), "MiB", float64(docker>>20)),
	}, nil
}

// use is what a process has used.
type use struct {
	cpu    time.Duration
	memory int64
}

// lookUp prints name, ticks and pages of each process that is looked for.
const lookUp = `for p in /proc/[0-9]*; do
case "$(tr '\0' ' ' <$p/cmdline)" in
*/flocker\ agent*) name=agent;; */flocker\ control*) name=control;; dockerd*) name=dockerd;; *) continue;;
esac
awk -v name=$name '{print name, $14 + $15, $24}' $p/stat
done 2>/dev/null; true`

// usage is what Flocker's processes and Docker's engine have used on every machine of the cluster.
func (b *bench) usage(ctx context.Context) (map[string]use, error) {
	machines := []string{"control"}
	for i := range b.lab.Nodes {
		machines = append(machines, lab.Node(i+1))
	}
	all := map[string]use{}
	for _, m := range machines {
		out, err := b.lab.Exec(ctx, m, "sh", "-c", lookUp)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			var name string
			var ticks, pages int64
			if _, err := fmt.Sscan(line, &name, &ticks, &pages); err != nil {
				return nil, fmt.Errorf("processes of %s: %q: %w", m, line, err)
			}
			all[m+" "+name] = use{time.Duration(ticks) * clockTick, pages * 4096}
		}
	}
	if want := 1 + 2*b.lab.Nodes; len(all) != want {
		return nil, fmt.Errorf("%d processes of Flocker and Docker are running, not %d", len(all), want)
	}
	return all, nil
}

// removeAll removes datasets and waits until they are gone.
func (b *bench) removeAll(ctx context.Context, datasets []string) error {
	if _, err := b.lab.Flocker(ctx, append([]string{"dataset", "rm"}, datasets...)...); err != nil {
		return err
	}
	return b.until(ctx, "all datasets to go", func() (bool, error) {
		left, err := b.client.Datasets(ctx)
		return len(left) == 0, err
	})
}
