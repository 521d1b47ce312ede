// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/lab"
)

const (
	testTime   = 3 * time.Minute
	settleTime = 90 * time.Second
	settle     = 20 // records before and after each move
)

// stage is the cluster in the hands of one test.
type stage struct {
	*testing.T
	*lab.Lab
	ctx context.Context //nolint:containedctx // the test's own, for as long as the test
}

// enter gives a test the cluster, settled; it is looked over again at the test's end.
func enter(t *testing.T) *stage {
	t.Helper()
	if os.Getenv(enabled) == "" {
		t.Skip("makes a real cluster: set FLOCKER_E2E=1 and run as root")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), testTime) // for what is cleaned up as well
	t.Cleanup(cancel)
	s := &stage{T: t, Lab: site.lab, ctx: ctx}
	s.settled()
	t.Cleanup(func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime+30*time.Second)
		defer cancel()
		last := &stage{T: t, Lab: site.lab, ctx: after}
		if t.Failed() {
			last.explain()
			if err := s.Mend(after); err != nil {
				t.Log(err)
			}
		}
		last.whole()
	})
	return s
}

// scene runs a part of a test as a subtest with the same cluster.
func (s *stage) scene(name string, play func(*stage)) {
	s.T.Helper()
	s.T.Run(name, func(t *testing.T) { play(enter(t)) })
}

func (s *stage) must(err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}

// settled waits until nobody has anything left to do.
func (s *stage) settled() api.Status {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, settleTime)
	defer cancel()
	status, err := s.Settle(ctx)
	s.must(err)
	return status
}

// whole says whether the cluster has settled and every promise about data was kept.
func (s *stage) whole() {
	s.T.Helper()
	s.settled()
	if err := site.databases.Check(s.ctx); err != nil {
		s.T.Error(err)
	}
}

// explain logs what is needed to find out what went wrong.
func (s *stage) explain() {
	out, err := s.Flocker(s.ctx, "status")
	s.T.Logf("status: %v\n%s", err, out)
	s.log("control", "control")
	for i := range s.Nodes {
		s.log(lab.Node(i+1), "agent")
	}
}

func (s *stage) log(machine, process string) {
	out, err := s.Dev(s.ctx, "logs", machine, process, "-n", "60")
	s.T.Logf("%s of %s: %v\n%s", process, machine, err, out)
}

// home is the node that an application is on.
func (s *stage) home(app string) string {
	s.T.Helper()
	a, err := s.Application(s.ctx, app)
	s.must(err)
	return a.NodeName
}

// others are the nodes that an application is not on.
func (s *stage) others(app string) []string {
	s.T.Helper()
	home := s.home(app)
	var others []string
	for i := range s.Nodes {
		if node := lab.Node(i + 1); node != home {
			others = append(others, node)
		}
	}
	return others
}

// moved moves an application, which must succeed.
func (s *stage) moved(app, node string, flags ...string) api.MoveInfo {
	s.T.Helper()
	m, err := s.Move(s.ctx, app, node, flags...)
	s.must(err)
	if m.Phase != cluster.MoveCleaned {
		s.T.Fatalf("move of %s to %s is %s: %s", app, node, m.Phase, m.Reason)
	}
	return m
}

// begin starts a move.
func (s *stage) begin(app, node string, flags ...string) api.MoveInfo {
	s.T.Helper()
	m, err := s.Begin(s.ctx, app, node, flags...)
	s.must(err)
	return m
}

// ended waits for a move's end and for the cluster to settle, and sees that the application is where the move says.
func (s *stage) ended(m api.MoveInfo) api.MoveInfo {
	s.T.Helper()
	m, err := s.WaitEnd(s.ctx, m.ID)
	s.must(err)
	s.settled()
	want := m.SourceName
	if m.Phase == cluster.MoveCleaned {
		want = m.TargetName
	}
	for _, app := range m.Applications {
		if got := s.home(app); got != want {
			s.T.Errorf("move of %s from %s to %s is %s, and it is on %s", app, m.SourceName, m.TargetName, m.Phase, got)
		}
	}
	return m
}

// container is what Docker says of an application's container: its id, when it was started, and its process.
func (s *stage) container(app, node string) string {
	s.T.Helper()
	out, err := s.Exec(s.ctx, node, "docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Pid}}", "flocker--"+app)
	s.must(err)
	return strings.TrimSpace(string(out))
}

// deploy adds an application to those there are, on a node.
func (s *stage) deploy(node, name, body string) {
	s.T.Helper()
	application := "version: 2\napplications:\n  " + name + ":\n" + indent(body)
	s.must(s.Lab.Deploy(s.ctx, application, "version: 1\nnodes:\n  "+node+": ["+name+"]\n"))
	s.T.Cleanup(func() { s.remove(name) })
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		b.WriteString("    " + line)
	}
	return b.String() + "\n"
}

// remove takes an application and its datasets away.
func (s *stage) remove(name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), settleTime)
	defer cancel()
	a, err := s.Application(ctx, name)
	if err != nil {
		s.T.Error(err)
		return
	}
	if _, err := s.Flocker(ctx, "app", "rm", name); err != nil {
		s.T.Error(err)
	}
	for _, v := range a.Volumes {
		if err := s.Until(ctx, "dataset of "+name+" to be removed", func() (bool, error) {
			_, err := s.Flocker(ctx, "dataset", "rm", string(v.Dataset))
			return err == nil, err
		}); err != nil {
			s.T.Error(err)
		}
	}
}
