// SPDX-License-Identifier: Apache-2.0

// Command bench measures Flocker on a development cluster of its own, every figure
// beside its baseline from the same run, and takes the cluster down again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/flocker-project/flocker/test/lab"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "flocker", "bin/flocker", "the flocker program")
	flag.StringVar(&o.name, "name", "bench", "name of the development cluster; one that is there is replaced")
	flag.StringVar(&o.link, "link", "1gbit", "rate of the nodes' links")
	flag.StringVar(&o.out, "out", "", "file for the results (default of a whole run: test/bench/results.json)")
	flag.StringVar(&o.only, "only", "", "measure only what has a result whose name matches this regular expression")
	flag.BoolVar(&o.quick, "quick", false, "less of everything, in a few minutes")
	flag.BoolVar(&o.strict, "strict", false, "fail when a limit is missed")
	step := flag.String("bare", "", "on a node: make, attach or detach a volume as a bare client of a block store")
	store := flag.String("store", "", "with -bare: the block store's address")
	volume := flag.String("volume", "", "with -bare: the volume's name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := func() error { return measure(ctx, o) }
	if *step != "" {
		do = func() error { return runBare(ctx, *step, *store, *volume) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, name, link, out, only string
	quick, strict                 bool
}

// newBench checks the options.
func newBench(o options) (*bench, error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	return &bench{
		lab:   &lab.Lab{Binary: binary, Name: o.name, Nodes: 3, Link: o.link},
		quick: o.quick,
		only:  only,
	}, nil
}
