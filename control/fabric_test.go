// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

func TestAnApplicationKeepsItsAddressForLife(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	address := func() string {
		t.Helper()
		s.holdings()
		info, err := s.service.GetApplication(t.Context(), "db")
		if err != nil {
			t.Fatal(err)
		}
		return info.Address
	}
	first := address()
	if first != "10.144.0.4" { // after the service address and the two nodes
		t.Errorf("the first application has %s", first)
	}
	change := cluster.Application{Name: "db", Image: "y", Node: "a", Address: "10.144.0.1", Volumes: []cluster.Volume{{Dataset: "db", MountPoint: "/data"}}}
	deploy := func() {
		t.Helper()
		if err := second(s.service.Deploy(t.Context(), "test", api.DeployRequest{Applications: []cluster.Application{change}})); err != nil {
			t.Fatal(err)
		}
	}
	deploy()
	if got := address(); got != first {
		t.Errorf("with another image it has %s, had %s", got, first)
	}
	s.advance(s.move("db", "b"), "a", "b", cluster.MoveCommitted)
	if got := address(); got != first {
		t.Errorf("on another node it has %s, had %s", got, first)
	}
	s.boot("a", "boot-1")
	if h := s.holdings(); len(h.holders) != 3 {
		t.Errorf("after another session of a node: %v", h.holders)
	}
}

func TestADeletionThatIsTakenBackKeepsTheAddressAndOneThatIsDoneFreesIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	if err := s.create([]string{"web"}, "a"); err != nil {
		t.Fatal(err)
	}
	was := s.holdings().applications[0].Address
	if err := second(s.service.DeleteApplication(t.Context(), "test", "web")); err != nil {
		t.Fatal(err)
	}
	if h := s.holdings(); h.applications[0].Address != was {
		t.Errorf("while it is being removed it has %q, had %s", h.applications[0].Address, was)
	}
	if err := s.create([]string{"web"}, "a"); err != nil {
		t.Fatal(err)
	}
	if h := s.holdings(); h.applications[0].Address != was {
		t.Errorf("taken back it has %q, had %s", h.applications[0].Address, was)
	}
	if err := s.remove("web", "a"); err != nil {
		t.Fatal(err)
	}
	if h := s.holdings(); len(h.holders) != 1 || len(h.applications) != 0 {
		t.Errorf("after its removal: %+v", h)
	}
}

func TestAFullSubnetRefusesWhatIsNewByName(t *testing.T) {
	t.Parallel()
	s := newStageOf(t, "192.168.7.0/24", "a")
	var names []string
	for i := range 252 {
		names = append(names, fmt.Sprint("app-", i))
	}
	if err := s.create(names, "a"); err != nil {
		t.Fatal(err)
	}
	const says = "subnet 192.168.7.0/24 has no free address: 1 nodes and 252 applications hold all"
	for what, try := range map[string]func() error{
		"application late": func() error { return s.create([]string{"late"}, "a") },
		"node": func() error {
			request := api.SessionRequest{Name: "b", Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525", BootID: "b", Protocol: 1, Process: "p"}
			return second(s.service.OpenSession(t.Context(), "b", request))
		},
	} {
		if err := try(); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if err := s.remove("app-100", "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.create([]string{"late"}, "a"); err != nil {
		t.Error(err)
	}
	s.holdings()
}

func TestTheSubnetIsFixedAtTheFirstStart(t *testing.T) {
	t.Parallel()
	service, _ := openServiceOf(t, "192.168.0.0/16")
	for _, subnet := range []string{"", "192.168.0.0/16"} {
		if err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet: subnet}); err != nil {
			t.Errorf("a start with %q: %v", subnet, err)
		}
	}
	err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet: "10.200.0.0/16"})
	if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "192.168.0.0/16") || !strings.Contains(err.Error(), "10.200.0.0/16") {
		t.Errorf("a start with another subnet: %v", err)
	}
	wantError(t, service.EnsureFabric(t.Context(), cluster.Fabric{Subnet: "192.168.0.1/16"}), cluster.ErrInvalid)
	status, err := service.Status(t.Context())
	if err != nil || status.Fabric.Subnet != "192.168.0.0/16" {
		t.Errorf("the status shows %+v, %v", status.Fabric, err)
	}
	// Without a subnet nothing is let in that would have to have an address.
	bare := control.NewService(emptyStore(t), nil, "test", quiet())
	request := api.SessionRequest{Name: "b", Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525", BootID: "b", Protocol: 1, Process: "p"}
	wantError(t, second(bare.OpenSession(t.Context(), "b", request)), cluster.ErrPrecondition)
}

func TestAServerWithAnotherSubnetDoesNotStart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.node("node1")
	f.stop()
	issued, err := f.authority.IssueControl([]string{"127.0.0.1"})
	server := control.Server{
		Store: store.Options{Dir: f.dir, Log: quiet()}, Credentials: f.credentials(issued, err), Fabric: cluster.Fabric{Subnet: "10.200.0.0/16"}, Log: quiet(),
		Users: listener(t), Agents: listener(t),
		Ready: func(*control.Service) { t.Error("it answers") },
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	err = server.Run(ctx)
	if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), cluster.DefaultSubnet) || !strings.Contains(err.Error(), server.Fabric.Subnet) {
		t.Errorf("got %v", err)
	}
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
