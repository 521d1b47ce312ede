// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

const (
	postgresImage = "postgres:17"
	password      = "bench"
	pace          = 5 * time.Millisecond // between two records of the writer
	settle        = 100                  // records before and after each stall
)

// database is a PostgreSQL of one size. Each has a port of its own, so that one that failed is in nobody's way.
type database struct {
	*bench
	size            string
	scale           int // of pgbench: 15 MB each
	moves           int // with Flocker
	byHand          int // stop, copy, start
	port            int
	everywhere      []string // where the writer finds it
	stalls, besides []time.Duration
}

func gapName(size string) string { return "move.restart.postgres." + size + ".gap" }

// addedName is of what a move adds to the application's own stop and start, both as the writer sees them.
func addedName(size string) string { return "move.restart.postgres." + size + ".added" }

// besideName is of what is left of the stall without the phases in which the application stops, starts and gets ready, as
// the move's own report has them. It is the stricter figure where Docker's part of stop and start overlaps with ours.
func besideName(size string) string { return addedName(size) + ".by-phases" }

// postgres measures the gap of moves between two nodes and back, the first one with
// everything still to be copied, and the same by hand.
func (b *bench) postgres() []section {
	all := []*database{{size: "100MB", scale: 7, moves: 7, byHand: 3}}
	if !b.quick {
		all = append(all, &database{size: "1GB", scale: 67, moves: 3, byHand: 2}, &database{size: "5GB", scale: 334, moves: 3, byHand: 1})
	}
	var sections []section
	for i, d := range all {
		d.bench, d.port = b, 5432+i
		sections = append(sections, section{[]string{gapName(d.size), addedName(d.size), besideName(d.size)}, d.run})
	}
	return sections
}

func (d *database) run(ctx context.Context) ([]result, error) {
	if err := d.enoughSpace(ctx); err != nil {
		return nil, err
	}
	if err := d.load(ctx, postgresImage); err != nil {
		return nil, err
	}
	if err := d.withFlocker(ctx); err != nil {
		return nil, err
	}
	baseline, restart, err := d.withoutFlocker(ctx)
	if err != nil {
		return nil, err
	}
	return []result{
		inMilliseconds(gapName(d.size), median(d.stalls), baseline),
		inMilliseconds(addedName(d.size), median(d.stalls)-restart, restart),
		inMilliseconds(besideName(d.size), median(d.besides), restart),
	}, nil
}

// enoughSpace asks for room for two copies of each kind, each with as much log again.
func (d *database) enoughSpace(ctx context.Context) error {
	out, err := d.lab.Exec(ctx, "node1", "df", "--output=avail", "-BM", "/var/lib/flocker")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(out))
	free, err := strconv.Atoi(strings.TrimSuffix(fields[len(fields)-1], "M"))
	if err != nil {
		return fmt.Errorf("free space of node1: %w", err)
	}
	if wanted := 60*d.scale + 2000; free < wanted {
		return fmt.Errorf("%d MB are free on this machine's disk and %d MB are needed", free, wanted)
	}
	return nil
}

func (d *database) app() string { return "postgres-" + strings.ToLower(d.size) }

// withFlocker measures the moves, and looks at every record afterwards.
func (d *database) withFlocker(ctx context.Context) (err error) {
	name := d.app()
	d.everywhere = d.lab.Everywhere(d.port)
	application := fmt.Sprintf(`version: 2
applications:
  %[1]s:
    image: %[2]s
    environment: {POSTGRES_PASSWORD: %[3]s}
    ports: [{internal: 5432, external: %[4]d}]
    volumes: [{dataset: %[1]s-data, mountpoint: /var/lib/postgresql/data}]
    hooks: {preset: postgres}
`, name, postgresImage, password, d.port)
	if err := d.lab.Deploy(ctx, application, "version: 1\nnodes:\n  node1: ["+name+"]\n"); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, d.remove(ctx, name, name+"-data"))
	}()
	if err := d.fill(ctx, "flocker--"+name); err != nil {
		return err
	}
	return d.underWrites(ctx, func(w *load.Writer) error {
		for i := range d.moves {
			if err := d.move(ctx, w, lab.Node(2-i%2)); err != nil {
				return err
			}
		}
		return nil
	})
}

// move measures one move.
func (d *database) move(ctx context.Context, w *load.Writer, to string) error {
	var m api.MoveInfo
	stall, err := stallOf(ctx, w, func() (err error) {
		m, err = d.lab.Move(ctx, d.app(), to)
		return err
	})
	if err != nil {
		return err
	}
	if m.Report == nil {
		return fmt.Errorf("move %s to %s has no report", d.app(), to)
	}
	own := ownTime(*m.Report)
	d.stalls, d.besides = append(d.stalls, stall), append(d.besides, stall-own)
	say("   to %s: stall %d ms, of it the application's own %d ms, beside it %d ms; copied %d MB in %d rounds; %s", to,
		stall.Milliseconds(), own.Milliseconds(), (stall - own).Milliseconds(), m.Report.Bytes/1e6, m.Report.Rounds, inGap(*m.Report))
	return nil
}

// ownTime is what the application itself takes to stop, to start and to get ready.
func ownTime(r cluster.MoveReport) (own time.Duration) {
	for _, p := range r.Phases {
		if name, _, _ := strings.Cut(p.Name, " "); name == "stop" || name == "start" || name == "ready" {
			own += p.Took.Std()
		}
	}
	return own
}

// inGap lists the phases of a gap with their milliseconds.
func inGap(r cluster.MoveReport) string {
	var parts []string
	for _, p := range r.Phases {
		if p.InGap {
			parts = append(parts, fmt.Sprintf("%s %d", p.Name, p.Took.Std().Milliseconds()))
		}
	}
	return strings.Join(parts, ", ")
}

// fill gives a database in a container on node1 its data.
func (d *database) fill(ctx context.Context, container string) error {
	err := d.lab.Until(ctx, container+" to answer", func() (bool, error) {
		_, err := d.lab.Exec(ctx, "node1", "docker", "exec", container, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres")
		return err == nil, err
	})
	if err != nil {
		return err
	}
	_, err = d.lab.Exec(ctx, "node1", "docker", "exec", container, "pgbench", "-i", "-q", "-s", strconv.Itoa(d.scale), "-U", "postgres", "postgres")
	return err
}

// underWrites runs something while records are written and accounts changed, and then looks at each record.
func (d *database) underWrites(ctx context.Context, do func(*load.Writer) error) (err error) {
	w, err := load.Start(ctx, load.Postgres{Password: password}, d.everywhere, pace)
	if err != nil {
		return err
	}
	stop := startChurn(ctx, d.everywhere, d.scale)
	err = do(w)
	changed := stop()
	// A database that is gone is not waited for.
	reading, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	v, stopped := w.Stop(reading)
	if err = errors.Join(err, stopped); err != nil {
		return err
	}
	if v.Lost > 0 || v.Duplicated > 0 {
		return fmt.Errorf("of %d acknowledged records %d are lost and %d there twice", v.Acknowledged, v.Lost, v.Duplicated)
	}
	say("   %d records written, none lost; %d accounts changed meanwhile", v.Acknowledged, changed)
	return nil
}

// stallOf is the writer's longest stall while something is done.
func stallOf(ctx context.Context, w *load.Writer, do func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := w.WaitFor(ctx, settle); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	if err := w.WaitFor(ctx, settle); err != nil {
		return 0, err
	}
	return w.Stall(began), nil
}
