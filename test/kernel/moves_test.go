// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/lab"
)

// TestThereAndBack moves both databases over both other nodes and back the same way; the replica that a move leaves
// makes the next one back small.
func TestThereAndBack(t *testing.T) {
	s := enter(t)
	for _, app := range []string{"postgres", "redis"} {
		s.scene(app, func(s *stage) {
			home, others := s.home(app), s.others(app)
			s.travel(app, others[0])
			first := s.travel(app, others[1])
			if back := s.travel(app, others[0]); back > first/3 {
				s.Errorf("%d bytes were sent back to %s, which has a replica, and %d the first time", back, others[0], first)
			}
			s.travel(app, home)
		})
	}
}

// travel moves a database under its writer and returns how many bytes were sent.
func (s *stage) travel(app, node string) int64 {
	s.T.Helper()
	w, began := site.databases.Writers[app], time.Now()
	m := s.moved(app, node)
	s.must(w.WaitFor(s.ctx, settle))
	s.Logf("%s to %s: %d bytes in %d rounds, gap %v, the writer's longest stall %v", app, node,
		m.Report.Bytes, m.Report.Rounds, m.Report.Gap.Std(), w.Stall(began))
	return m.Report.Bytes
}

// TestTwoAtOnce moves both databases at the same time, crosswise where they allow it.
func TestTwoAtOnce(t *testing.T) {
	s := enter(t)
	var moves []api.MoveInfo
	for _, app := range []string{"postgres", "redis"} {
		moves = append(moves, s.begin(app, s.others(app)[0]))
	}
	for _, m := range moves {
		if m = s.ended(m); m.Phase != cluster.MoveCleaned {
			s.Errorf("move of %v is %s: %s", m.Applications, m.Phase, m.Reason)
		}
	}
}

// TestSeveralDatasets moves an application with three datasets, one of them read-only, in one move.
func TestSeveralDatasets(t *testing.T) {
	s := enter(t)
	s.deploy("node1", "three", `
image: redis:8
command: `+side(7001)+`
ports: [{internal: 7001, external: 7001}]
volumes:
  - {dataset: three-one, mountpoint: /one}
  - {dataset: three-two, mountpoint: /two}
  - {dataset: three-bin, mountpoint: /three}
`)
	for _, folder := range []string{"one", "two", "three"} {
		s.inside("node1", "three", "sh", "-c", "echo "+folder+" > /"+folder+"/word && sync")
	}
	m := s.moved("three", "node2")
	if len(m.Datasets) != 3 {
		s.Errorf("the move has %d datasets, want 3", len(m.Datasets))
	}
	s.settled()
	for _, folder := range []string{"one", "two", "three"} {
		if got := s.inside("node2", "three", "cat", "/"+folder+"/word"); got != folder {
			s.Errorf("/%s holds %q", folder, got)
		}
	}
}

// inside runs a command in an application's container.
func (s *stage) inside(node, app string, command ...string) string {
	s.T.Helper()
	out, err := s.Exec(s.ctx, node, append([]string{"docker", "exec", "flocker--" + app}, command...)...)
	s.must(err)
	return strings.TrimSpace(string(out))
}

// side is the command of a server beside the databases. Its processes have another name than those, by which the
// sentry knows them.
func side(port int, before ...string) string {
	return fmt.Sprintf(`[sh, -c, "cp $(command -v redis-server) /tmp/side%s; exec /tmp/side --port %d"]`, strings.Join(before, ""), port)
}

// ballast is an application with so much incompressible data in one dataset that copying it takes a while.
func (s *stage) ballast(node, name string, port, megabytes int) {
	s.T.Helper()
	s.deploy(node, name, fmt.Sprintf(`
image: redis:8
command: %[3]s
ports: [{internal: %[2]d, external: %[2]d}]
volumes: [{dataset: %[1]s-data, mountpoint: /data}]
`, name, port, side(port)))
	s.inside(node, name, "sh", "-c", fmt.Sprintf("head -c %dM /dev/urandom > /data/ballast && sync", megabytes))
}

// TestCopyUnderWay looks at moves that have not come to their cut-over: limited, cancelled, and only thought of.
func TestCopyUnderWay(t *testing.T) {
	s := copies(t)
	s.ballast("node1", "heavy", 7002, 60)
	before := s.container("heavy", "node1")

	s.dryRun("heavy", "node2", func(r api.PreflightReport) bool { return r.OK() && r.Bytes >= 60<<20 && r.PredictedGap > 0 })
	if out, err := s.Exec(s.ctx, "node2", "docker", "ps", "-a", "--format", "{{.Names}}"); err != nil || strings.Contains(string(out), "heavy") {
		s.Errorf("after a dry run node2 has %s (%v)", out, err)
	}

	// Cancelled while it copies.
	m := s.begin("heavy", "node2", "--bandwidth", "5MB")
	s.copying(m)
	_, err := s.Flocker(s.ctx, "moves", "cancel", string(m.ID))
	s.must(err)
	if m = s.ended(m); m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "cancel") {
		s.Errorf("a cancelled move is %s: %s", m.Phase, m.Reason)
	}
	if after := s.container("heavy", "node1"); after != before {
		s.Errorf("cancelling a copy touched the container: %s, before %s", after, before)
	}

	// Limited.
	const limit = 15 << 20
	m = s.moved("heavy", "node2", "--bandwidth", "15M")
	for _, p := range m.Report.Phases {
		if p.Name == "copy round 1" {
			rate := float64(p.Bytes) / time.Duration(p.Took).Seconds()
			s.Logf("%d bytes in %v: %.1f MiB/s of %d allowed", p.Bytes, p.Took.Std(), rate/(1<<20), limit>>20)
			if rate > 1.25*limit || rate < 0.75*limit {
				s.Errorf("the copy went at %.1f MiB/s, the limit is %d MiB/s", rate/(1<<20), limit>>20)
			}
		}
	}
}

// copying waits until a move has sent something and is still at it.
func (s *stage) copying(m api.MoveInfo) {
	s.T.Helper()
	m, err := s.WaitMove(s.ctx, m.ID, "to copy", func(m api.MoveInfo) bool {
		return m.Phase == cluster.MoveCopying && m.Progress != nil && m.Progress.Done > 0 || m.Phase.Terminal()
	})
	s.must(err)
	if m.Phase != cluster.MoveCopying {
		s.T.Fatalf("the move was too fast or failed: %s %s", m.Phase, m.Reason)
	}
}

// TestRestartsDisturbNothing restarts agents and control: no container and no mount may notice.
func TestRestartsDisturbNothing(t *testing.T) {
	s := enter(t)
	before := map[string]string{}
	look := func(app string) string {
		home := s.home(app)
		mounts, err := s.Exec(s.ctx, home, "sh", "-c", "grep ' /flocker/' /proc/self/mountinfo | sort")
		s.must(err)
		within := s.inside(home, app, "grep", "-E", " /(data|var/lib/postgresql/data) ", "/proc/self/mountinfo")
		return s.container(app, home) + "\n" + string(mounts) + within
	}
	for app := range site.databases.Writers {
		before[app] = look(app)
	}
	stalled := time.Now()
	for i := range s.Nodes {
		s.must(s.Kill(s.ctx, lab.Node(i+1), "agent"))
	}
	s.must(s.Kill(s.ctx, "control", "control"))
	s.must(s.Until(s.ctx, "control to answer", func() (bool, error) {
		_, err := s.Status(s.ctx)
		return err == nil, err
	}))
	s.settled()
	for app, w := range site.databases.Writers {
		if after := look(app); after != before[app] {
			s.Errorf("%s before:\n%s\nafter:\n%s", app, before[app], after)
		}
		s.must(w.WaitFor(s.ctx, settle))
		if stall := w.Stall(stalled); stall > 2*time.Second {
			s.Errorf("%s stalled for %v", app, stall)
		}
	}
}

// TestUnready moves an application that does not get ready on its target: it is taken back by itself.
func TestUnready(t *testing.T) {
	s := enter(t)
	s.deploy("node1", "picky", `
image: redis:8
command: `+side(7003, "; echo picky begins")+`
ports: [{internal: 7003, external: 7003}]
volumes: [{dataset: picky-data, mountpoint: /data}]
health: {command: [sh, -c, "test ! -e /tmp/unhealthy"]}
`)
	// The container is made on the target before anything stops: what is put into it then is not in the data.
	spoiled := make(chan error, 1)
	go func() {
		_, err := s.Exec(s.ctx, "node2", "sh", "-c", "until docker cp /etc/hostname flocker--picky:/tmp/unhealthy >/dev/null 2>&1; do sleep 0.02; done")
		spoiled <- err
	}()
	m, err := s.Move(s.ctx, "picky", "node2", "--ready-timeout", "4s")
	s.must(<-spoiled)
	if err == nil || m.Phase != cluster.MoveTakenBack {
		s.Errorf("the move is %s (%v), want it taken back", m.Phase, err)
	}
	if !strings.Contains(m.Reason, "picky begins") {
		s.Errorf("the reason has not the container's last lines: %s", m.Reason)
	}
	s.ended(m)
	if got := s.inside("node1", "picky", "redis-cli", "-p", "7003", "ping"); got != "PONG" {
		s.Errorf("on the source redis answers %q", got)
	}
}

// refused is the error of a command that must fail.
func (s *stage) refused(args ...string) string {
	s.T.Helper()
	_, err := s.Flocker(s.ctx, args...)
	if err == nil {
		s.T.Fatalf("flocker %v succeeded", args)
	}
	if errors.Is(err, s.ctx.Err()) {
		s.T.Fatal(err)
	}
	return err.Error()
}
