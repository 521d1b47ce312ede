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
	"slices"
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
	step := flag.String("bare", "", "on a node: make, attach or detach a volume as a bare client of a store")
	backend := flag.String("backend", "", "with -bare: the kind of store, nbd or rbd")
	address := flag.String("store", "", "with -bare: the block store's address")
	volume := flag.String("volume", "", "with -bare: the volume's name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := func() error { return measure(ctx, o) }
	if *step != "" {
		do = func() error { return runBare(ctx, *step, *backend, *address, *volume) }
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

// newBenches checks the options. There is one bench for each storage.
func newBenches(o options) ([]*bench, error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	on := func(backend string, nodes int, link string) *bench {
		return &bench{
			lab:   &lab.Lab{Binary: binary, Name: o.name, Nodes: nodes, Link: link, Backend: backend},
			quick: o.quick,
			only:  only,
		}
	}
	btrfs, zfs := on("btrfs", 3, o.link), on("zfs", 3, o.link)
	btrfs.measured = slices.Concat(
		[]section{btrfs.idle(), btrfs.createDataset(), btrfs.createContainer(), btrfs.throughput("btrfs", btrfsTools(), 1000)},
		btrfs.postgres(), btrfs.networks())
	zfs.measured = []section{zfs.createDataset(), zfs.throughput("zfs", zfsTools(), 500)}
	all := []*bench{btrfs, zfs}
	for _, backend := range []string{"nbd", "rbd"} {
		b := on(backend, 2, "") // nothing is copied
		b.measured = []section{b.createDataset(), b.volumes(), b.calls()}
		all = append(all, b)
	}
	return all, nil
}
