// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/converge"
	"github.com/flocker-project/flocker/network"
)

func TestWhatListensIsToldAndWhatComesAndGoesIsNot(t *testing.T) {
	l := &listeners{}
	look := func(ports map[network.Port]string) bool { return l.saw(maps.Clone(ports)) }
	told := func(what string, want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, l.withContainers(nil)); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
	ports := map[network.Port]string{{Protocol: "tcp", Number: 5432}: "postgres (pid 7)"}
	if !look(ports) {
		t.Error("something listens that did not")
	}
	told("at the first look", map[string]string{"5432/tcp": "postgres (pid 7)"})
	if look(ports) {
		t.Error("a look at the same made a report")
	}
	// A question to a name server leaves a socket for a moment, at any port.
	ports[network.Port{Protocol: "udp", Number: 40001}] = "dns (pid 8)"
	ports[network.Port{Protocol: "tcp", Number: 40002}] = "test (pid 9)"
	if look(ports) {
		t.Error("what may be passing made a report at once")
	}
	delete(ports, network.Port{Protocol: "udp", Number: 40001})
	if !look(ports) {
		t.Error("what stays at a high port made no report")
	}
	told("at the next look", map[string]string{"5432/tcp": "postgres (pid 7)", "40002/tcp": "test (pid 9)"})
	ports = map[network.Port]string{{Protocol: "tcp", Number: 40002}: "test (pid 9)"}
	if !look(ports) {
		t.Error("the end of a process made no report")
	}
	told("when it has ended", map[string]string{"40002/tcp": "test (pid 9)"})
}

func TestPortsOfForeignContainersCountAsTheirs(t *testing.T) {
	l := &listeners{}
	proxied := network.Port{Protocol: "tcp", Number: 8080}
	l.saw(map[network.Port]string{proxied: "docker-proxy (pid 7)"})
	got := l.withContainers([]container.Found{
		{Name: "web", Published: []cluster.Port{{Internal: 80, External: 8080, Protocol: "tcp"}, {Internal: 53, External: 53, Protocol: "udp"}}},
		{Name: "backup", Mounts: []string{"/data"}},
	})
	want := map[string]string{"8080/tcp": "container web", "53/udp": "container web"} // the second is led by a rule: nobody listens
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	a := &Agent{Config: Config{Network: &busy{ports: map[network.Port]string{proxied: "docker-proxy (pid 7)", {Protocol: "tcp", Number: 1}: "x (pid 8)"}}}, listeners: l}
	inUse, err := a.portsInUse(t.Context())
	want["1/tcp"] = "x (pid 8)"
	if diff := cmp.Diff(want, inUse); diff != "" || err != nil {
		t.Errorf("for a move: %v\n%s", err, diff)
	}
}

func TestReportsOfListenersAreBounded(t *testing.T) {
	l := &listeners{}
	ports := map[network.Port]string{}
	for i := range 10_000 {
		ports[network.Port{Protocol: "tcp", Number: 1 + i}] = fmt.Sprint(i, strings.Repeat("ä", 1000))
	}
	l.saw(ports)
	first := l.withContainers(nil)
	size := 0
	for port, who := range first {
		size += len(port) + len(who)
	}
	if len(first) != maxReported || size > 32<<10 || first["1/tcp"] == "" {
		t.Errorf("%d ports in %d bytes", len(first), size)
	}
	if diff := cmp.Diff(first, l.withContainers(nil)); diff != "" {
		t.Errorf("the next report differs, though nothing has changed:\n%s", diff)
	}
}

// busy is a node where somebody listens.
type busy struct {
	Network
	mu    sync.Mutex
	looks int
	ports map[network.Port]string
}

func (b *busy) Listening(context.Context) (map[network.Port]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks++
	return maps.Clone(b.ports), nil
}

func (b *busy) listen(who string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ports = map[network.Port]string{{Protocol: "tcp", Number: 5432}: who}
}

// Nothing tells who listens, so that the agent looks now and then; the loop turns only when something is different.
func TestTheLoopIsWokenOnlyWhenSomethingElseListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &busy{}
		a := &Agent{Config: Config{Network: node, Log: slog.New(slog.DiscardHandler)}, listeners: &listeners{}, wake: converge.NewWaker()}
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		var both sync.WaitGroup
		both.Go(func() { a.watchPorts(ctx) })
		both.Go(func() {
			loop := converge.Loop{Wake: a.wake, Log: a.Log, Round: func(context.Context) error { rounds++; return nil }}
			if err := loop.Run(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
		wait := func(d time.Duration) int {
			<-time.After(d)
			synctest.Wait()
			return rounds
		}
		began := wait(time.Minute)
		node.listen("postgres (pid 7)")
		listens := wait(lookAtPorts + time.Second)
		rest := wait(time.Hour)
		if listens != began+1 || rest != listens {
			t.Errorf("%d rounds, then %d when a process listens, then %d in an hour of rest; want one more and no more", began, listens, rest)
		}
		if node.looks > int(2*time.Hour/lookAtPorts) {
			t.Errorf("%d looks in an hour", node.looks)
		}
		cancel()
		both.Wait()
	})
}
