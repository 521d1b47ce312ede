// SPDX-License-Identifier: Apache-2.0

package devcluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// TestMain lets the test's own program be the one that the nodes run.
func TestMain(m *testing.M) {
	switch strings.Join(os.Args[1:], " ") {
	case "dev init":
		exitWith(supervisor.Run(context.Background(), slog.New(slog.NewTextHandler(os.Stdout, nil))))
	case "dev apply-network":
		exitWith(supervisor.ApplyNetwork(context.Background()))
	case "idle agent":
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// live is a real cluster, with the calls that a test makes again and again.
type live struct {
	*testing.T
	*devcluster.Cluster
	ctx    context.Context //nolint:containedctx // the test's own, for as long as the test
	engine *devcluster.Engine
	opts   devcluster.Options
}

func TestClusterOfRealNodes(t *testing.T) {
	if os.Getenv("FLOCKER_E2E") == "" {
		t.Skip("makes a real cluster: set FLOCKER_E2E=1 and run as root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	engine, err := devcluster.EnsureEngine(ctx, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	l := &live{T: t, ctx: ctx, engine: engine, opts: devcluster.Options{
		Name: "test-live", Nodes: 2, Link: "1gbit",
		AgentArgs: func(devcluster.Node) []string { return []string{"idle", "agent"} },
		Provision: func(ctx context.Context, c *devcluster.Cluster) error { return c.Enable(ctx, "node1", "agent") },
	}}
	t.Cleanup(func() {
		if err := devcluster.Down(context.WithoutCancel(ctx), engine, l.opts.Name); err != nil {
			t.Error(err)
		}
	})
	l.up()
	l.secondUpChangesNothing()
	l.commandsAndFiles()
	l.containersOutliveTheirEngine()
	l.heldAgentStaysDown()
	l.pausedNodeIsSilent()
	l.partitions()
	l.powerLossIsABoot()
	l.downLeavesNothing()
}

func (l *live) up() {
	c, err := devcluster.Up(l.ctx, l.engine, l.opts)
	l.must(err)
	l.Cluster = c
	l.eventually("the agent runs", func() bool { return l.child("node1", "agent").State == supervisor.Running })
	if state := l.child("node2", "agent").State; state != supervisor.Disabled {
		l.Errorf("agent of node2, which was not enabled, is %s", state)
	}
}

func (l *live) secondUpChangesNothing() {
	before := l.status()
	l.up()
	after := l.status()
	for i, m := range after.Machines {
		if m.BootID != before.Machines[i].BootID || m.Link != "1gbit" {
			l.Errorf("after a second up %s has boot %s, link %s; before %s", m.Name, m.BootID, m.Link, before.Machines[i].BootID)
		}
	}
}

func (l *live) commandsAndFiles() {
	l.must(l.CopyTo(l.ctx, "node1", "/etc/flocker/some/file", []byte("content"), 0o600))
	if got := l.exec("node1", "cat", "/etc/flocker/some/file"); got != "content" {
		l.Errorf("copied file holds %q", got)
	}
	_, err := l.Exec(l.ctx, "node1", "sh", "-c", "echo words >&2; exit 7")
	if exit, ok := errors.AsType[*devcluster.ExitError](err); !ok || exit.Code != 7 || exit.Stderr != "words" {
		l.Errorf("failing command: %v; want exit status 7 with its words", err)
	}
	var out bytes.Buffer
	l.must(l.Stream(l.ctx, "node2", devcluster.Streams{Stdin: strings.NewReader("through"), Stdout: &out}, "cat"))
	if out.String() != "through" {
		l.Errorf("cat gave %q", out.String())
	}
	if _, err := l.Exec(l.ctx, "node9", "true"); !errors.Is(err, devcluster.ErrNoNode) {
		l.Errorf("command on a missing node: %v; want ErrNoNode", err)
	}
}

func (l *live) containersOutliveTheirEngine() {
	l.must(l.Load(l.ctx, "redis:8", "node1"))
	l.exec("node1", "docker", "run", "--detach", "--name", "redis", "--publish", "6379:6379", "redis:8", "redis-server", "--appendonly", "yes")
	l.eventually("redis answers", l.redisAnswers)
	first := l.child("node1", "docker").PID
	l.must(l.Kill(l.ctx, "node1", "docker"))
	l.eventually("the engine is back", func() bool {
		engine := l.child("node1", "docker")
		return engine.State == supervisor.Running && engine.PID != first
	})
	l.eventually("the engine knows its container", func() bool {
		out, err := l.Exec(l.ctx, "node1", "docker", "inspect", "--format", "{{.State.Running}} {{.RestartCount}}", "redis")
		return err == nil && string(out) == "true 0\n"
	})
	if !l.redisAnswers() {
		l.Error("redis does not answer after its engine was killed")
	}
}

func (l *live) heldAgentStaysDown() {
	l.must(l.Hold(l.ctx, "node1", "agent"))
	l.must(l.Kill(l.ctx, "node1", "agent"))
	l.eventually("the agent is held", func() bool { return l.child("node1", "agent").State == supervisor.Held })
	l.must(l.Release(l.ctx, "node1", "agent"))
	l.eventually("the agent is back", func() bool { return l.child("node1", "agent").State == supervisor.Running })
	if err := l.Kill(l.ctx, "node1", "tea"); !errors.Is(err, devcluster.ErrNoChild) {
		l.Errorf("kill of a missing child: %v; want ErrNoChild", err)
	}
}

func (l *live) pausedNodeIsSilent() {
	l.must(l.Pause(l.ctx, "node1"))
	if l.redisAnswers() {
		l.Error("a container of a paused node answers")
	}
	l.must(l.Unpause(l.ctx, "node1"))
	l.eventually("redis answers again", l.redisAnswers)
}

func (l *live) partitions() {
	l.must(l.Partition(l.ctx, "node1", "node2"))
	for pair, want := range map[string]bool{"node1 node2": false, "node2 node1": false, "node1 control": true, "node2 control": true} {
		from, to, _ := strings.Cut(pair, " ")
		if got := l.reaches(from, to); got != want {
			l.Errorf("node1 cut off from node2: %s reaches %s: %v", from, to, got)
		}
	}
	l.must(l.Partition(l.ctx, "node1"))
	if l.reaches("control", "node1") || !l.redisAnswers() {
		l.Error("node1 is cut off: want it out of the control's reach and in that of this machine")
	}
	l.must(l.Heal(l.ctx))
	if !l.reaches("node2", "node1") || !l.reaches("control", "node1") {
		l.Error("node1 is out of reach after heal")
	}
}

func (l *live) powerLossIsABoot() {
	before := l.status()
	l.exec("node1", "sh", "-ec", "truncate -s 200M /var/lib/flocker/test-live.pool; mkfs.btrfs -q /var/lib/flocker/test-live.pool;"+
		"mkdir -p /flocker; mount $(losetup -f --show /var/lib/flocker/test-live.pool) /flocker; echo kept > /flocker/file; sync")
	l.must(l.Partition(l.ctx, "node1", "node2"))
	l.must(l.Stop(l.ctx, "node1", false))
	l.must(l.Stop(l.ctx, "node1", false)) // a stopped node stays stopped
	if devices := l.exec("node2", "losetup", "--list", "--noheadings", "--output", "BACK-FILE"); strings.Contains(devices, "/test-live.pool") {
		l.Errorf("loop devices of a node that is off: %s", devices)
	}
	if _, err := l.Exec(l.ctx, "node1", "true"); !errors.Is(err, devcluster.ErrNotRunning) {
		l.Errorf("command on a node that is off: %v; want ErrNotRunning", err)
	}
	l.must(l.Start(l.ctx, "node1"))
	after := l.status()
	if i := l.index(after, "node1"); after.Machines[i].BootID == before.Machines[i].BootID || after.Machines[i].Link != "1gbit" {
		l.Errorf("after a power loss: %+v; want another boot with the link shaped", after.Machines[i])
	}
	if l.reaches("node1", "node2") {
		l.Error("a boot healed the partition")
	}
	l.must(l.Heal(l.ctx))
	l.exec("node1", "sh", "-ec", "mount $(losetup -f --show /var/lib/flocker/test-live.pool) /flocker; grep kept /flocker/file")
}

func (l *live) downLeavesNothing() {
	l.must(devcluster.Down(l.ctx, l.engine, l.opts.Name))
	l.must(devcluster.Down(l.ctx, l.engine, l.opts.Name)) // nothing to do is no error
	if _, err := devcluster.Open(l.ctx, l.engine, l.opts.Name); !errors.Is(err, devcluster.ErrNoCluster) {
		l.Errorf("Open after Down: %v; want ErrNoCluster", err)
	}
	backing, err := os.ReadDir("/sys/block")
	l.must(err)
	for _, device := range backing {
		file, err := os.ReadFile("/sys/block/" + device.Name() + "/loop/backing_file")
		if err == nil && strings.HasSuffix(strings.TrimSpace(string(file)), "/test-live.pool") {
			l.Errorf("%s is attached still", device.Name())
		}
	}
}

func (l *live) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *live) exec(node string, command ...string) string {
	l.Helper()
	out, err := l.Exec(l.ctx, node, command...)
	l.must(err)
	return string(out)
}

func (l *live) eventually(what string, holds func() bool) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (l *live) status() devcluster.Status {
	l.Helper()
	s, err := l.Status(l.ctx)
	l.must(err)
	return s
}

func (l *live) index(s devcluster.Status, node string) int {
	l.Helper()
	i := slices.IndexFunc(s.Machines, func(m devcluster.MachineStatus) bool { return m.Name == node })
	if i < 0 {
		l.Fatalf("status lacks %s", node)
	}
	return i
}

func (l *live) child(node, name string) supervisor.ChildStatus {
	l.Helper()
	s := l.status()
	for _, child := range s.Machines[l.index(s, node)].Children {
		if child.Name == name {
			return child
		}
	}
	return supervisor.ChildStatus{}
}

func (l *live) reaches(from, to string) bool {
	l.Helper()
	n, err := l.Node(to)
	l.must(err)
	_, err = l.Exec(l.ctx, from, "ping", "-c", "1", "-W", "1", n.Address.String())
	return err == nil
}

func (l *live) redisAnswers() bool {
	l.Helper()
	n, err := l.Node("node1")
	l.must(err)
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(l.ctx, "tcp", n.Address.String()+":6379")
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // nothing is in flight
	l.must(conn.SetDeadline(time.Now().Add(time.Second)))
	answer := make([]byte, 5)
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	_, err = conn.Read(answer)
	return err == nil && string(answer) == "+PONG"
}
