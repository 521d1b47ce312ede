// SPDX-License-Identifier: Apache-2.0

// Command chaos moves two databases at random between three nodes while it kills, freezes, cuts off and switches
// off whatever takes part, and looks at every record that was acknowledged. Its last line is a verdict in JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flocker-project/flocker/test/lab"
)

// verdict is the last line.
type verdict struct {
	Seed    uint64         `json:"seed"`
	Minutes float64        `json:"minutes"`
	Moves   map[string]int `json:"moves"`  // by how they ended
	Faults  map[string]int `json:"faults"` // by kind
	// Acknowledged counts records, Slowest is the longest time in which the cluster came to rest once its faults were being ended.
	Acknowledged map[string]int `json:"acknowledged"`
	Slowest      int64          `json:"slowest_rest_ms"`
	OK           bool           `json:"ok"`
	Problem      string         `json:"problem,omitempty"`
}

func main() {
	minutes := flag.Float64("minutes", 5, "how long to go on")
	seed := flag.Uint64("seed", 0, "of what is chosen; 0 makes one up")
	binary := flag.String("flocker", "bin/flocker", "the flocker program")
	name := flag.String("name", "chaos", "name of the development cluster; one that is there is replaced")
	keep := flag.Bool("keep", false, "leave the cluster up after a failure")
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rage(ctx, *binary, *name, *keep, verdict{Seed: *seed, Minutes: *minutes})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

const tearDown = 2 * time.Minute

// rage brings the cluster up, lets chaos loose, and takes the cluster down.
func rage(ctx context.Context, binary, name string, keep bool, v verdict) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	c := newCourse(&lab.Lab{Binary: binary, Name: name, Nodes: 3}, v)
	err = c.run(ctx)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearDown)
	defer cancel()
	if err == nil || !keep {
		err = errors.Join(err, c.lab.Down(end))
	}
	if c.verdict.OK = err == nil; err != nil {
		c.verdict.Problem = err.Error()
	}
	line, bad := json.Marshal(c.verdict)
	fmt.Println(string(line))
	return errors.Join(err, bad)
}
