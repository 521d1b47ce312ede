// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

const (
	pool     = "/var/lib/flocker/pool"
	barePort = "9412"
)

// throughput compares the first round of a move, which ends with a copy that is verified and on disk, with the filesystem's own tools over a bare
// connection: the same data, between the same nodes.
func (b *bench) throughput(backend string, tools tools, megabytes int) section {
	name := "copy." + backend + ".throughput"
	return section{[]string{name}, func(ctx context.Context) ([]result, error) {
		var ours, bare []time.Duration
		var bytes int64
		for range choose(b, 3, 1) {
			c := copying{bench: b, tools: tools, dataset: "bench-copy", megabytes: choose(b, megabytes, megabytes/4)}
			if err := errors.Join(c.run(ctx), c.cleanAll(ctx)); err != nil {
				return nil, err
			}
			rate := func(d time.Duration) float64 { return float64(c.bytes) / 1e6 / d.Seconds() }
			say("   %d MB: %.1f MB/s with Flocker, %.1f MB/s with %s", c.bytes/1e6, rate(c.ours), rate(c.bare), tools.named)
			ours, bare, bytes = append(ours, c.ours), append(bare, c.bare), c.bytes
		}
		megabytes := float64(bytes) / 1e6
		return []result{newResult(name, megabytes/median(ours).Seconds(), "MB/s", megabytes/median(bare).Seconds())}, nil
	}}
}

// copying is one comparison.
type copying struct {
	*bench
	tools
	dataset   string
	megabytes int
	bytes     int64
	ours      time.Duration
	bare      time.Duration
}

func (c *copying) run(ctx context.Context) error {
	steps := []func(context.Context) error{c.prepare, c.withFlocker, c.removeAll, c.withTools}
	if c.first {
		steps = []func(context.Context) error{c.prepare, c.withTools, c.cleanAll, c.withFlocker, c.removeAll}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// removeAll makes room: a pool may be one that only Flocker lets grow.
func (c *copying) removeAll(ctx context.Context) error {
	if err := c.remove(ctx, "", c.dataset); err != nil {
		return err
	}
	_, err := c.lab.Exec(ctx, "node2", "sh", "-ec", c.settle)
	return err
}

// prepare makes the dataset with data that cannot be compressed, and keeps a snapshot of it for the tools.
func (c *copying) prepare(ctx context.Context) error {
	_, err := c.lab.Flocker(ctx, "dataset", "create", c.dataset, "--node", "node1")
	if err != nil {
		return err
	}
	path, id := "", cluster.DatasetID("")
	err = c.until(ctx, "dataset "+c.dataset+" to be mounted", func() (bool, error) {
		d, err := c.client.Dataset(ctx, c.dataset)
		path, id = d.Path, d.ID
		return path != "", err
	})
	if err != nil {
		return err
	}
	_, err = c.lab.Exec(ctx, "node1", "sh", "-ec", fmt.Sprintf(
		"ID=%s; cd %s/data; head -c %dM /dev/urandom | split -b 10M; sync -f .; %s", id, path, c.megabytes, c.keep))
	return err
}

func (c *copying) withFlocker(ctx context.Context) error {
	var m struct{ Report cluster.MoveReport }
	if err := c.lab.JSON(ctx, &m, "dataset", "move", c.dataset, "node2"); err != nil {
		return err
	}
	for _, p := range m.Report.Phases {
		if p.Name == "copy round 1" {
			c.bytes, c.ours = p.Bytes, p.Took.Std()
			return nil
		}
	}
	return errors.New("the move's report has no first round")
}

// withTools measures on the nodes, whose clocks are this machine's.
func (c *copying) withTools(ctx context.Context) error {
	received := make(chan error, 1)
	var end []byte
	go func() {
		var err error
		end, err = c.lab.Exec(ctx, "node2", "sh", "-ec", c.receive+"; date +%s%N")
		received <- err
	}()
	err := c.lab.Until(ctx, "node2 to listen", func() (bool, error) {
		out, err := c.lab.Exec(ctx, "node2", "ss", "-Hltn", "sport = :"+barePort)
		return len(out) > 0, err
	})
	if err != nil {
		return err
	}
	begin, err := c.lab.Exec(ctx, "node1", "sh", "-ec",
		"date +%s%N; "+c.send+" | nc -N "+c.lab.Address("node2")+" "+barePort)
	if err := errors.Join(err, <-received); err != nil {
		return err
	}
	c.bare, err = between(begin, end)
	return err
}

// between is the time from one of date's nanoseconds to another.
func between(begin, end []byte) (time.Duration, error) {
	from, err1 := strconv.ParseInt(strings.TrimSpace(string(begin)), 10, 64)
	to, err2 := strconv.ParseInt(strings.TrimSpace(string(end)), 10, 64)
	return time.Duration(to - from), errors.Join(err1, err2)
}

// cleanAll takes away what was made without Flocker.
func (c *copying) cleanAll(ctx context.Context) error {
	var errs []error
	for _, node := range []string{"node1", "node2"} {
		_, err := c.lab.Exec(ctx, node, "sh", "-ec", c.clean)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
