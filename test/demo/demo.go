// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

const (
	pace     = 5 * time.Millisecond
	settle   = 100 // records before and after each move
	password = "demo"
)

// result is the demo's last line.
type result struct {
	Backend  string  `json:"backend"`
	Moves    []moved `json:"moves"`
	Baseline int64   `json:"baseline_gap_ms"`
}

type moved struct {
	App    string `json:"app"`
	Mode   string `json:"mode"`
	From   string `json:"from"`
	To     string `json:"to"`
	Bytes  int64  `json:"bytes"`
	Rounds int    `json:"rounds"`
	Gap    int64  `json:"gap_ms"`
	knocked
	Phases map[string]int64 `json:"phases"` // milliseconds
	load.Verdict
}

// demo is one run.
type demo struct {
	lab     *lab.Lab
	scale   int
	writers map[string]*load.Writer
	clients map[string]*load.Connector
	result  result
}

func say(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

func show(ctx context.Context, binary, name, backend string, scale int) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	d := &demo{
		lab:     &lab.Lab{Binary: binary, Name: name, Nodes: 3, Backend: backend, Output: os.Stdout},
		result:  result{Backend: backend},
		scale:   scale,
		writers: map[string]*load.Writer{},
		clients: map[string]*load.Connector{},
	}
	defer d.stopKnocking()
	for _, part := range []func(context.Context) error{d.bringUp, d.fill, d.moveAll, d.byHand} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return d.finish()
}

func (d *demo) bringUp(ctx context.Context) error {
	say("A cluster of three nodes on this machine, with %s (the first time its images are built: a few minutes)", d.result.Backend)
	if err := d.lab.Down(ctx); err != nil {
		return err
	}
	if err := d.lab.Up(ctx); err != nil {
		return err
	}
	if _, err := d.lab.Flocker(ctx, "node", "ls"); err != nil {
		return err
	}
	say("PostgreSQL and Redis on node1")
	for _, image := range []string{"postgres:17", "redis:8"} {
		if _, err := d.lab.Dev(ctx, "load", image, "node1"); err != nil {
			return err
		}
	}
	return d.lab.Deploy(ctx, lab.ApplicationFile(password), "version: 1\nnodes:\n  node1: [postgres, redis]\n")
}

// fill gives both databases data and starts their writers.
func (d *demo) fill(ctx context.Context) error {
	say("Data: %d MB in PostgreSQL, 20 MB in Redis; then one writer on each, a record every %v, always at node1's address", d.scale*15, pace)
	if err := d.pgbench(ctx, "node1", "flocker--postgres"); err != nil {
		return err
	}
	if err := load.FillRedis(ctx, d.lab.Everywhere(6379)[0], 20_000, 1000); err != nil {
		return fmt.Errorf("fill redis: %w", err)
	}
	databases := map[string]load.Database{"postgres": load.Postgres{Password: password}, "redis": load.Redis{}}
	ports := map[string]int{"postgres": 5432, "redis": 6379}
	for app, database := range databases {
		everywhere := d.lab.Everywhere(ports[app])
		w, err := load.Start(ctx, database, everywhere[:1], pace)
		if err != nil {
			return fmt.Errorf("writer of %s: %w", app, err)
		}
		d.writers[app] = w
		d.knock(ctx, app, everywhere)
	}
	return nil
}

func (d *demo) pgbench(ctx context.Context, node, container string) error {
	err := d.lab.Until(ctx, "PostgreSQL to answer", func() (bool, error) {
		_, err := d.lab.Exec(ctx, node, "docker", "exec", container, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres")
		return err == nil, err
	})
	if err != nil {
		return err
	}
	_, err = d.lab.Exec(ctx, node, "docker", "exec", container, "pgbench", "-i", "-q", "-s", strconv.Itoa(d.scale), "-U", "postgres", "postgres")
	return err
}

// moveAll moves both databases to node2 and on to node3.
func (d *demo) moveAll(ctx context.Context) error {
	for _, step := range []struct{ app, from, to string }{
		{"postgres", "node1", "node2"},
		{"redis", "node1", "node2"},
		{"postgres", "node2", "node3"},
		{"redis", "node2", "node3"},
	} {
		say("flocker move %s %s   (the writer goes on)", step.app, step.to)
		if err := d.move(ctx, step.app, step.from, step.to); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) move(ctx context.Context, app, from, to string) error {
	w := d.writers[app]
	if err := awaitRecords(ctx, w); err != nil {
		return err
	}
	began := time.Now()
	if _, err := d.lab.Flocker(ctx, "move", app, to); err != nil {
		return err
	}
	if err := awaitRecords(ctx, w); err != nil {
		return err
	}
	gap := w.Stall(began)
	seen, err := d.knockedSince(ctx, app, began)
	if err != nil {
		return err
	}
	verdict, err := w.Verify(ctx)
	if err != nil {
		return err
	}
	m, err := d.lastMove(ctx, app)
	if err != nil {
		return err
	}
	one := moved{
		App: app, Mode: string(m.Mode), From: from, To: to, Gap: gap.Milliseconds(), knocked: seen,
		Phases: map[string]int64{}, Verdict: verdict,
	}
	if m.Report != nil {
		one.Bytes, one.Rounds = m.Report.Bytes, m.Report.Rounds
		for _, p := range m.Report.Phases {
			one.Phases[p.Name] += p.Took.Std().Milliseconds()
		}
	}
	fmt.Printf("The writer's longest stall was %d ms. Of %d acknowledged records %d are lost and %d there twice.\n",
		one.Gap, verdict.Acknowledged, verdict.Lost, verdict.Duplicated)
	fmt.Printf("Of %d new connections to all three nodes %d were refused; the longest took %d ms.\n",
		seen.attempts, seen.Refused, seen.LongestWait)
	d.result.Moves = append(d.result.Moves, one)
	return nil
}

func awaitRecords(ctx context.Context, w *load.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return w.WaitFor(ctx, settle)
}

func (d *demo) lastMove(ctx context.Context, app string) (api.MoveInfo, error) {
	var all []api.MoveInfo
	if err := d.lab.JSON(ctx, &all, "moves"); err != nil {
		return api.MoveInfo{}, err
	}
	var last api.MoveInfo
	for _, m := range all {
		if strings.Join(m.Applications, ",") == app && m.Created.After(last.Created) {
			last = m
		}
	}
	return last, nil
}

// byHand does the same with a PostgreSQL that Flocker knows nothing of.
func (d *demo) byHand(ctx context.Context) error {
	say("The same by hand, for comparison: docker stop, copy everything, docker run")
	b := lab.ByHand{
		Lab: d.lab, Name: "by-hand", Image: "postgres:17", Port: 5433, Inner: 5432,
		Args: []string{"-e", "POSTGRES_PASSWORD=" + password}, Data: "/var/lib/postgresql/data",
	}
	if err := b.Start(ctx, "node1"); err != nil {
		return err
	}
	if err := d.pgbench(ctx, "node1", b.Name); err != nil {
		return err
	}
	w, err := load.Start(ctx, load.Postgres{Password: password}, b.Addresses("node1", "node2"), pace)
	if err != nil {
		return err
	}
	if err := awaitRecords(ctx, w); err != nil {
		return err
	}
	began := time.Now()
	if err := b.Move(ctx, "node1", "node2"); err != nil {
		return err
	}
	if err := awaitRecords(ctx, w); err != nil {
		return err
	}
	d.result.Baseline = w.Stall(began).Milliseconds()
	if _, err := w.Stop(ctx); err != nil {
		return err
	}
	for _, node := range []string{"node1", "node2"} {
		if err := b.Remove(ctx, node); err != nil {
			return err
		}
	}
	return d.last(ctx)
}

// last stops the clients and the writers, and judges all they wrote.
func (d *demo) last(ctx context.Context) error {
	d.stopKnocking()
	for app, w := range d.writers {
		v, err := w.Stop(ctx)
		if err != nil {
			return err
		}
		if v.Lost > 0 || v.Duplicated > 0 {
			return fmt.Errorf("%s: of %d acknowledged records %d are lost and %d there twice", app, v.Acknowledged, v.Lost, v.Duplicated)
		}
	}
	return nil
}

func (d *demo) finish() error {
	say("What the clients saw")
	for _, m := range d.result.Moves {
		fmt.Printf("%-9s %s -> %s   %6d ms   %7d records, %d lost   %d connections refused, longest wait %d ms\n",
			m.App, m.From, m.To, m.Gap, m.Acknowledged, m.Lost, m.Refused, m.LongestWait)
	}
	fmt.Printf("%-9s by hand          %6d ms\n", "postgres", d.result.Baseline)
	flocker := "bin/flocker"
	say("The cluster is up. Next, try:")
	fmt.Printf(`  eval "$(%[1]s dev env --name %[2]s)"
  %[1]s status
  %[1]s move postgres node1 --dry-run
  %[1]s move postgres node1
  %[1]s dev --name %[2]s shell node1
  make demo-clean            (removes it)
`, flocker, d.lab.Name)
	line, err := json.Marshal(d.result)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s\n", line)
	for _, m := range d.result.Moves {
		if m.Lost > 0 || m.Duplicated > 0 {
			return fmt.Errorf("%s: records are lost or there twice", m.App)
		}
	}
	return err
}
