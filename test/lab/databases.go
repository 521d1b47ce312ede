// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/test/load"
)

// Databases are PostgreSQL and Redis with data in them, under writers, and guarded. Make them with StartDatabases.
type Databases struct {
	Writers map[string]*load.Writer // by application
	Sentry  *Sentry

	lab *Lab
}

const (
	databasePassword = "lab"
	databasePace     = 10 * time.Millisecond
	redisValues      = 20_000 // of 1 kB
)

// ApplicationFile describes PostgreSQL, with a password, and Redis, both so that what they acknowledge is durable.
func ApplicationFile(password string) string {
	return `version: 2
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
}

// guardedDatabases is how the databases are known from outside.
func guardedDatabases() []Guarded {
	return []Guarded{
		{Application: "postgres", Process: "postgres", Port: 5432},
		{Application: "redis", Process: "redis-server", Port: 6379},
	}
}

// StartDatabases runs both databases on a node, fills them (PostgreSQL with so many times 15 MB), and begins to write and to guard.
func (l *Lab) StartDatabases(ctx context.Context, node string, scale int) (*Databases, error) {
	for _, image := range []string{"postgres:17", "redis:8"} {
		if _, err := l.Dev(ctx, "load", image, node); err != nil {
			return nil, err
		}
	}
	if err := l.Deploy(ctx, ApplicationFile(databasePassword), "version: 1\nnodes:\n  "+node+": [postgres, redis]\n"); err != nil {
		return nil, err
	}
	if _, err := l.Exec(ctx, node, "docker", "exec", "flocker--postgres",
		"pgbench", "-i", "-q", "-s", strconv.Itoa(scale), "-U", "postgres", "postgres"); err != nil {
		return nil, err
	}
	if err := load.FillRedis(ctx, l.Everywhere(6379)[slices.Index(l.NodeNames(), node)], redisValues, 1000); err != nil {
		return nil, fmt.Errorf("fill redis: %w", err)
	}
	d := &Databases{lab: l, Writers: map[string]*load.Writer{}}
	for _, g := range guardedDatabases() {
		var db load.Database = load.Redis{}
		if g.Application == "postgres" {
			db = load.Postgres{Password: databasePassword}
		}
		w, err := load.Start(ctx, db, l.Everywhere(g.Port), databasePace)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("writer of %s: %w", g.Application, err), d.Stop(ctx))
		}
		d.Writers[g.Application] = w
	}
	var err error
	d.Sentry, err = l.Guard(ctx, guardedDatabases()...)
	if err != nil {
		return nil, errors.Join(err, d.Stop(ctx))
	}
	return d, nil
}

// Check waits until both writers are served again, and says whether a record was lost or is there twice, or a
// database was seen on two nodes at once.
func (d *Databases) Check(ctx context.Context) error {
	var errs []error
	for app, w := range d.Writers {
		if err := w.WaitFor(ctx, 20); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", app, err))
			continue
		}
		v, err := w.Verify(ctx)
		errs = append(errs, damage(app, v, err))
	}
	moves, err := d.lab.Moves(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, d.Sentry.Violations(moves)...)...)
}

func damage(app string, v load.Verdict, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", app, err)
	}
	if v.Lost > 0 || v.Duplicated > 0 {
		return fmt.Errorf("%s: of %d acknowledged records %d are lost and %d there twice", app, v.Acknowledged, v.Lost, v.Duplicated)
	}
	return nil
}

// Stop ends the writing and the guarding, and looks at every record once more.
func (d *Databases) Stop(ctx context.Context) error {
	if d.Sentry != nil {
		d.Sentry.Stop()
	}
	var errs []error
	for app, w := range d.Writers {
		v, err := w.Stop(ctx)
		errs = append(errs, damage(app, v, err))
	}
	return errors.Join(errs...)
}

// NodeNames lists the nodes.
func (l *Lab) NodeNames() []string {
	var names []string
	for i := range l.Nodes {
		names = append(names, Node(i+1))
	}
	return names
}
