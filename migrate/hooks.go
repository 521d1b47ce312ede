// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// preset is what is known of a kind of application.
type preset struct {
	quiesce    []string
	isCheap    bool // quiesce takes little when it has just been run
	stopSignal string
	greeting   greeting
}

// A preset's command runs as the image's own tools find their server; what it
// writes out is then not in the last delta, and the stop itself has little to do.
func presetNamed(name string) (preset, bool) {
	switch name {
	case "":
		return preset{}, true
	case "postgres":
		return preset{
			quiesce:    []string{"sh", "-c", `exec psql -X -q -U "${POSTGRES_USER:-postgres}" -d "${POSTGRES_DB:-postgres}" -c CHECKPOINT`},
			isCheap:    true,
			stopSignal: "SIGINT", // fast shutdown: SIGTERM waits for clients to leave
			greeting:   postgresGreeting(),
		}, true
	case "mysql":
		return preset{
			quiesce: []string{"sh", "-c", `MYSQL_PWD="${MARIADB_ROOT_PASSWORD:-$MYSQL_ROOT_PASSWORD}"; export MYSQL_PWD
c=$(command -v mariadb || command -v mysql) || { echo "neither mariadb nor mysql is in the image" >&2; exit 1; }
ask() { "$c" -u root -N -B -e "$1"; }
kept=$(ask 'SELECT @@GLOBAL.innodb_max_dirty_pages_pct') && ask 'SET GLOBAL innodb_max_dirty_pages_pct = 0' || exit
for _ in $(seq 50); do
	dirty=$(ask "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'" | cut -f2)
	[ "${dirty:-0}" -lt 64 ] && break
	sleep 0.2
done
ask "SET GLOBAL innodb_max_dirty_pages_pct = $kept"`}, // a stop writes out every dirty page
			stopSignal: "SIGTERM",
		}, true
	case "redis":
		// Nothing to write out ahead: with appendonly the stop has only to sync, and without it the stop saves everything anew.
		return preset{stopSignal: "SIGTERM", greeting: redisGreeting()}, true
	}
	return preset{}, false
}

// Default times of stops and hooks.
const (
	stopWithin       = 10 * time.Second
	presetStopWithin = 60 * time.Second
	quiesceWithin    = 30 * time.Second
)

// StopOf is how an application is stopped: its own words first, then its preset's,
// then the image's signal (empty).
func StopOf(app cluster.Application) (signal string, timeout time.Duration) {
	p, _ := presetNamed(app.Hooks.Preset) // an unknown one was refused in preflight
	signal, timeout = app.StopSignal, app.StopTimeout.Std()
	if signal == "" {
		signal = p.stopSignal
	}
	switch {
	case timeout > 0:
	case app.Hooks.Preset != "":
		timeout = presetStopWithin
	default:
		timeout = stopWithin
	}
	return signal, timeout
}

// quiesceOf is the command to run before the last rounds; nil is none.
func quiesceOf(app cluster.Application) []string {
	if len(app.Hooks.Quiesce) > 0 {
		return app.Hooks.Quiesce
	}
	p, _ := presetNamed(app.Hooks.Preset) // an unknown one was refused in preflight
	return p.quiesce
}

// quiesceAgain says whether the application's command may run a second time: what is dirtied during the round after the first
// is then not in the last delta either. An owner's own command runs once.
func quiesceAgain(app cluster.Application) bool {
	p, _ := presetNamed(app.Hooks.Preset)
	return p.isCheap && len(app.Hooks.Quiesce) == 0
}

// quiesce runs the applications' commands that there are and that may. A command that fails ends the move: its
// owner relies on it.
func (r *run) quiesce(ctx context.Context, may func(cluster.Application) bool) error {
	for _, app := range r.apps {
		if quiesceOf(app) == nil || !may(app) {
			continue
		}
		done := r.times.measure("quiesce " + app.Name)
		err := r.node.Quiesce(ctx, app)
		done(0)
		if err != nil {
			return err
		}
	}
	return nil
}

// Quiesce runs an application's own command that writes out what it keeps in memory, where it has one.
func (n *Node) Quiesce(ctx context.Context, app cluster.Application) error {
	command, timeout := quiesceOf(app), app.Hooks.Timeout.Std()
	if command == nil {
		return nil
	}
	if timeout == 0 {
		timeout = quiesceWithin
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	code, output, err := n.Engine.Exec(ctx, app.Name, command)
	if err != nil {
		return fmt.Errorf("quiesce application %s: %w", app.Name, err)
	}
	if code != 0 {
		return fmt.Errorf("quiesce application %s: the command ended with %d: %s", app.Name, code, tail(output, 500))
	}
	return nil
}

// tail is the end of a text, for a reason that people read.
func tail(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
