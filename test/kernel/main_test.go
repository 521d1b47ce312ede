// SPDX-License-Identifier: Apache-2.0

// Package kernel_test moves real databases on real filesystems between real engines, and breaks everything on the
// way that can break.
package kernel_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

// The tests share one cluster, since making one takes longer than most of them: each leaves it settled.
//
// FLOCKER_BINARY names a program to test in place of one that is built here; FLOCKER_CLUSTER names a cluster to use,
// which then stays up.
const (
	enabled   = "FLOCKER_E2E"
	binaryEnv = "FLOCKER_BINARY"
	keepEnv   = "FLOCKER_CLUSTER"
)

const (
	pace      = 10 * time.Millisecond
	bringUp   = 10 * time.Minute // the first time images are built
	tearDown  = 2 * time.Minute
	password  = "kernel"
	nodes     = 3
	dataScale = 4 // of pgbench, each about 15 MB
)

// site is the cluster with the databases and those who watch them. It is set once, before any test.
var site *ground

// ground is what all tests stand on.
type ground struct {
	lab     *lab.Lab
	sentry  *lab.Sentry
	writers map[string]*load.Writer
}

func TestMain(m *testing.M) {
	if os.Getenv(enabled) == "" {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g := &ground{writers: map[string]*load.Writer{}}
	defer func() {
		if err := g.leave(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	begin, cancel := context.WithTimeout(ctx, bringUp)
	defer cancel()
	if err := g.enter(begin); err != nil {
		fmt.Fprintln(os.Stderr, "bring the cluster up:", err)
		return 1
	}
	site = g
	return m.Run()
}

// enter makes the cluster, with PostgreSQL and Redis on node1 and a writer on each.
func (g *ground) enter(ctx context.Context) error {
	binary, err := program(ctx)
	if err != nil {
		return err
	}
	g.lab = &lab.Lab{Binary: binary, Name: cmp.Or(os.Getenv(keepEnv), "e2e"), Nodes: nodes}
	if err := g.lab.Down(ctx); err != nil {
		return err
	}
	if err := g.lab.Up(ctx); err != nil {
		return err
	}
	for _, image := range []string{"postgres:17", "redis:8"} {
		if _, err := g.lab.Dev(ctx, "load", image, "node1"); err != nil {
			return err
		}
	}
	if err := g.lab.Deploy(ctx, databases, "version: 1\nnodes:\n  node1: [postgres, redis]\n"); err != nil {
		return err
	}
	if err := g.fill(ctx); err != nil {
		return err
	}
	g.sentry, err = g.lab.Guard(ctx,
		lab.Guarded{Application: "postgres", Process: "postgres", Port: 5432},
		lab.Guarded{Application: "redis", Process: "redis-server", Port: 6379})
	return err
}

const databases = `version: 2
applications:
  postgres:
    image: postgres:17
    environment: {POSTGRES_PASSWORD: ` + password + `}
    ports: [{internal: 5432, external: 5432}]
    volumes: [{dataset: postgres-data, mountpoint: /var/lib/postgresql/data}]
    hooks: {preset: postgres}
  redis:
    image: redis:8
    command: [redis-server, --appendonly, "yes", --appendfsync, always, --save, ""]
    ports: [{internal: 6379, external: 6379}]
    volumes: [{dataset: redis-data, mountpoint: /data}]
    hooks: {preset: redis}
`

func (g *ground) fill(ctx context.Context) error {
	if _, err := g.lab.Exec(ctx, "node1", "docker", "exec", "flocker--postgres",
		"pgbench", "-i", "-q", "-s", fmt.Sprint(dataScale), "-U", "postgres", "postgres"); err != nil {
		return err
	}
	if err := load.FillRedis(ctx, g.lab.Everywhere(6379)[0], 20_000, 1000); err != nil {
		return fmt.Errorf("fill redis: %w", err)
	}
	for app, db := range map[string]struct {
		load.Database
		port int
	}{"postgres": {load.Postgres{Password: password}, 5432}, "redis": {load.Redis{}, 6379}} {
		w, err := load.Start(ctx, db, g.lab.Everywhere(db.port), pace)
		if err != nil {
			return fmt.Errorf("writer of %s: %w", app, err)
		}
		g.writers[app] = w
	}
	return nil
}

// leave ends the watching and removes the cluster.
func (g *ground) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tearDown)
	defer cancel()
	if g.sentry != nil {
		g.sentry.Stop()
	}
	var errs []error
	for app, w := range g.writers {
		if v, err := w.Stop(ctx); err != nil || v.Lost > 0 || v.Duplicated > 0 {
			errs = append(errs, fmt.Errorf("%s at the end: %+v %w", app, v, errors.Join(err)))
		}
	}
	if g.lab != nil && os.Getenv(keepEnv) == "" {
		errs = append(errs, g.lab.Down(ctx))
	}
	return errors.Join(errs...)
}

// program is the flocker program under test.
func program(ctx context.Context) (string, error) {
	if named := os.Getenv(binaryEnv); named != "" {
		return filepath.Abs(named)
	}
	dir, err := os.MkdirTemp("", "flocker-kernel-")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "flocker")
	build := run.Command(ctx, "go", "build", "-o", binary, "../../cmd/flocker")
	build.Env = []string{"CGO_ENABLED=0"}
	return binary, build.Run()
}
