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
)

// The tests share one cluster, since making one takes longer than most of them: each leaves it settled.
//
// FLOCKER_BINARY names a program to test in place of one that is built here; FLOCKER_CLUSTER names a cluster to use,
// which then stays up; FLOCKER_BACKEND names the nodes' storage.
const (
	enabled   = "FLOCKER_E2E"
	binaryEnv = "FLOCKER_BINARY"
	keepEnv   = "FLOCKER_CLUSTER"
	backend   = "FLOCKER_BACKEND"
)

const (
	pace      = 10 * time.Millisecond // of writers beside those of the databases
	bringUp   = 10 * time.Minute      // the first time images are built
	tearDown  = 2 * time.Minute
	nodes     = 3
	sharedEnd = "shared" // name of the network storage that nodes with storage of their own have beside it
	dataScale = 4        // of pgbench, each about 15 MB
)

// site is the cluster with the databases and those who watch them. It is set once, before any test.
var site *ground

// ground is what all tests stand on.
type ground struct {
	lab       *lab.Lab
	databases *lab.Databases
	built     string // folder of the program under test; empty where that was named
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
	g := &ground{}
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
	binary, err := g.program(ctx)
	if err != nil {
		return err
	}
	g.lab = &lab.Lab{Binary: binary, Name: cmp.Or(os.Getenv(keepEnv), "e2e"), Nodes: nodes, Backend: os.Getenv(backend)}
	if networkStorage() == "" {
		g.lab.Further = []string{sharedEnd + "=loopback"}
		g.lab.Options = []string{"profiles=" + ownProfiles(), sharedEnd + ".profiles={bronze: {filesystem: btrfs}}"}
	}
	if err := g.lab.Down(ctx); err != nil {
		return err
	}
	if err := g.lab.Up(ctx); err != nil {
		return err
	}
	g.databases, err = g.lab.StartDatabases(ctx, "node1", dataScale)
	return err
}

// leave ends the watching and removes the cluster.
func (g *ground) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tearDown)
	defer cancel()
	var errs []error
	if g.databases != nil {
		errs = append(errs, g.databases.Stop(ctx))
	}
	if g.lab != nil && os.Getenv(keepEnv) == "" {
		errs = append(errs, g.lab.Down(ctx), os.RemoveAll(g.built))
	}
	return errors.Join(errs...)
}

// program is the flocker program under test.
func (g *ground) program(ctx context.Context) (string, error) {
	if named := os.Getenv(binaryEnv); named != "" {
		return filepath.Abs(named)
	}
	var err error
	if g.built, err = os.MkdirTemp("", "flocker-kernel-"); err != nil {
		return "", err
	}
	binary := filepath.Join(g.built, "flocker")
	build := run.Command(ctx, "go", "build", "-o", binary, "../../cmd/flocker")
	build.Env = []string{"CGO_ENABLED=0"}
	return binary, build.Run()
}
