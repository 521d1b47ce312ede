// SPDX-License-Identifier: Apache-2.0

// Command demo brings up a three-node cluster on this machine, runs PostgreSQL and
// Redis on it with a writer on each, moves both twice while the writers write, does the
// same once by hand, and looks at every record. The cluster stays up.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	binary := flag.String("flocker", "bin/flocker", "the flocker program")
	name := flag.String("name", "demo", "name of the development cluster; one that is there is replaced")
	backend := flag.String("backend", "btrfs", "the nodes' storage")
	scale := flag.Int("scale", 20, "size of PostgreSQL's data, in units of 15 MB")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := show(ctx, *binary, *name, *backend, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
