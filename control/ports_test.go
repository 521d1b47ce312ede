// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
)

// publishing is an application with external ports, such as "5432/tcp".
func publishing(name, node string, ports ...cluster.Port) cluster.Application {
	for i := range ports {
		ports[i].Internal = 1
	}
	return cluster.Application{Name: name, Image: "x", Node: cluster.NodeID(node), Ports: ports}
}

func (s *stage) deployAll(apps ...cluster.Application) error {
	return second(s.service.Deploy(s.t.Context(), "test", api.DeployRequest{Applications: apps}))
}

func tcp(port int) cluster.Port { return cluster.Port{External: port} }
func udp(port int) cluster.Port { return cluster.Port{External: port, Protocol: "udp"} }

// wantRefusal checks that a deployment contradicts something, and says all that a user has to know.
func wantRefusal(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, cluster.ErrConflict) {
		t.Fatalf("got %v; want a conflict", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v: want it to say %q", err, word)
		}
	}
}

func TestPortsOfTheProjectsOwnAreReserved(t *testing.T) {
	for _, port := range []string{
		cluster.PublishedPort(api.ControlPort, ""), cluster.PublishedPort(api.AgentPort, ""),
		cluster.PublishedPort(api.PeerPort, ""), cluster.PublishedPort(network.DefaultPort, "udp"),
	} {
		if cluster.ReservedFor(port) == "" {
			t.Errorf("an application may publish %s", port)
		}
	}
}

func TestAPortLeadsToOneApplicationOfTheCluster(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	if err := s.deployAll(publishing("db", "a", tcp(5432), udp(53))); err != nil {
		t.Fatal(err)
	}
	err := s.deployAll(publishing("other", "b", tcp(53), tcp(5432)))
	wantRefusal(t, err, "port 5432/tcp of application other: application db publishes it on every node; choose another external port for one of them")
	err = s.deployAll(publishing("one", "a", tcp(80), udp(80)), publishing("two", "b", udp(80)))
	wantRefusal(t, err, "port 80/udp of application two: application one publishes it")
	if err := s.deployAll(publishing("other", "b", udp(5432), tcp(53))); err != nil {
		t.Errorf("the same numbers of the other protocol: %v", err)
	}
	if err := s.deployAll(publishing("db", "a", tcp(1)), publishing("other", "b", tcp(5432))); err != nil {
		t.Errorf("a port that one gives to the other in one request: %v", err)
	}
}

func TestAnApplicationThatIsBeingRemovedHasItsPortsStill(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	if err := s.deployAll(publishing("db", "a", tcp(5432))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.service.DeleteApplication(t.Context(), "test", "db"); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, s.deployAll(publishing("other", "b", tcp(5432))), "port 5432/tcp of application other: application db, which is being removed from node a, has it still",
		"wait until that is gone")
	for _, node := range []string{"a", "b"} {
		s.report(node, cluster.Observed{Revision: s.revision()})
	}
	if err := s.deployAll(publishing("other", "b", tcp(5432))); err != nil {
		t.Errorf("when nothing of it is left: %v", err)
	}
}

func TestAPortThatAProcessOfAnyNodeHasIsRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c")
	s.report("b", cluster.Observed{Ports: map[string]string{"5432/tcp": "postgres (pid 812)", "8080/tcp": "container web"}})
	db := publishing("db", "a", tcp(5432))
	wantRefusal(t, s.deployAll(db),
		"port 5432/tcp of application db: postgres (pid 812) listens on it on b; stop that process or choose another external port")
	wantRefusal(t, s.deployAll(publishing("web", "a", tcp(8080))),
		"port 8080/tcp of application web: container web listens on it on b; stop that container or choose another external port")
	if err := s.deployAll(publishing("dns", "a", udp(5432))); err != nil {
		t.Errorf("the same number of the other protocol: %v", err)
	}
	if st, err := s.service.Status(t.Context()); err != nil || len(st.Applications) != 1 {
		t.Errorf("a refused deployment left something: %+v, %v", st.Applications, err)
	}
	s.report("b", cluster.Observed{})
	if err := s.deployAll(db); err != nil {
		t.Errorf("when nobody listens any more: %v", err)
	}
}

func TestManyListenersAreToldBriefly(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c", "d", "e")
	for i, node := range []string{"a", "b", "c", "d", "e"} {
		s.report(node, cluster.Observed{Ports: map[string]string{"111/tcp": fmt.Sprintf("rpcbind (pid %d)", i)}})
	}
	err := s.deployAll(publishing("db", "a", tcp(111)))
	wantRefusal(t, err, "and others on 2 more nodes; stop that process")
	if n := strings.Count(err.Error(), "rpcbind"); n != 3 {
		t.Errorf("%d listeners in %v; want 3", n, err)
	}
}

func TestTheReportOfANodeThatIsNotAliveRefusesNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.report("b", cluster.Observed{Ports: map[string]string{"5432/tcp": "postgres (pid 812)"}})
	s.die("b")
	if err := s.deployAll(publishing("db", "a", tcp(5432))); err != nil {
		t.Error(err)
	}
}

// An agent need not have the usual port; the tests' agents say theirs with their sessions.
func TestThePortOfAnAgentIsRefusedWhateverItIs(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	err := second(s.service.OpenSession(t.Context(), cluster.NodeID("33333333-3333-4333-8333-333333333333"), api.SessionRequest{
		Name: "odd", Address: "127.0.0.1", AgentAddress: "127.0.0.1:7000", BootID: "1", Protocol: 1, Process: "1",
	}))
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, s.deployAll(publishing("db", "a", tcp(7000))), "port 7000/tcp of application db: Flocker's agent listens on it on odd; choose another external port")
	if err := s.deployAll(publishing("db", "a", udp(7000))); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatListensLaterWarnsAndStopsNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c")
	db := publishing("db", "a", tcp(5432))
	if err := s.deployAll(db); err != nil {
		t.Fatal(err)
	}
	running := cluster.Observed{Containers: map[string]cluster.Container{"db": {Application: "db", State: cluster.ContainerRunning, Ready: true}}}
	s.report("a", running)
	warnings := func() []string {
		info, err := s.service.GetApplication(t.Context(), "db")
		if err != nil || len(info.Pending) != 0 {
			t.Fatalf("something waits: %+v, %v", info.Pending, err)
		}
		return info.Warnings
	}
	if w := warnings(); len(w) != 0 {
		t.Fatalf("before anybody listens: %+v", w)
	}
	s.report("b", cluster.Observed{Ports: map[string]string{"5432/tcp": "postgres (pid 812)", "22/tcp": "sshd (pid 1)"}})
	const reason = "port 5432/tcp: postgres (pid 812) listens on it on b too, but clients reach the application; stop that process or choose another external port"
	if w := warnings(); len(w) != 1 || w[0] != reason {
		t.Errorf("when it listens: %+v", w)
	}
	if st, err := s.service.Status(t.Context()); err != nil || len(st.Applications[0].Warnings) != 1 || len(st.Pending) != 0 {
		t.Errorf("the status does not warn, or takes it for something to do: %+v, %v", st, err)
	}
	db.Environment = map[string]string{"A": "b"}
	if err := s.deployAll(db); err != nil {
		t.Errorf("a change of something else: %v", err)
	}
	s.report("c", cluster.Observed{Ports: map[string]string{"6000/tcp": "nginx (pid 7)"}})
	more := publishing("db", "a", tcp(5432), tcp(6000))
	if err := s.deployAll(more); err == nil || strings.Contains(err.Error(), "5432") {
		t.Errorf("a further port that somebody has: %v; want that one refused alone", err)
	}
	s.move("db", "c")
	s.report("b", cluster.Observed{})
	s.report("c", cluster.Observed{})
	if w := warnings(); len(w) != 0 {
		t.Errorf("when it has ended: %+v", w)
	}
}

func TestOtherNodesAreNotToldWhoListens(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.report("b", cluster.Observed{Ports: map[string]string{"5432/tcp": "postgres (pid 812)"}})
	d, _ := s.feed("a", cluster.Desired{}, s.revision())
	seen, ok := d.Elsewhere[s.actors["b"].id]
	if !ok || seen.Ports != nil {
		t.Errorf("node a got %+v, %v of node b", seen, ok)
	}
}

// What the original answers with 409 stays so; what is no number stays 400, and so does what it did not know.
func TestTheOriginalsAnswersToPorts(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.report("a", cluster.Observed{Ports: map[string]string{"8080/tcp": "nginx (pid 7)"}})
	if err := s.deployAll(publishing("db", "a", tcp(5432))); err != nil {
		t.Fatal(err)
	}
	h := s.userHandler()
	for _, c := range []struct {
		external, code int
		says           string
	}{
		{5432, 409, "application db publishes it"}, {8080, 409, "nginx (pid 7) listens on it on a"}, {22, 400, "SSH"}, {70000, 400, "65535"}, {81, 201, ""},
	} {
		code, body := ask(h, "POST", "/v1/configuration/containers", fmt.Sprintf(
			`{"node_uuid":"%s","name":"web%d","image":"nginx","ports":[{"internal":80,"external":%[2]d}]}`, s.actors["a"].id, c.external))
		if code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("external port %d: %d %s; want %d saying %q", c.external, code, body, c.code, c.says)
		}
	}
}

// Of applications that want one port at once, one gets it. They are there already and share no other record, so that nothing
// but the store's transaction decides.
func TestOfDeploymentsAtOnceOneGetsThePort(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	const askers = 4
	app := func(i int, ports ...cluster.Port) cluster.Application {
		return publishing(fmt.Sprint("app", i), []string{"a", "b"}[i%2], ports...)
	}
	for i := range askers {
		if err := s.deployAll(app(i, tcp(7000+i))); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 5 {
		oneOf(t, askers, func(i int) error { return s.deployAll(app(i, tcp(7000+i), tcp(8000+round))) })
	}
}
