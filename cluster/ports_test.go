// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestPortsThatNodesNeedCannotBePublished(t *testing.T) {
	for _, c := range []struct {
		port     int
		protocol string
		use      string // empty where it may be published
	}{
		{22, "", "SSH"},
		{22, "tcp", "SSH"},
		{22, "udp", ""},
		{2375, "tcp", "Docker"},
		{2376, "", "Docker"},
		{2377, "tcp", "swarm"},
		{7946, "tcp", "swarm"},
		{7946, "udp", "swarm"},
		{4523, "tcp", "control service"},
		{4524, "tcp", "control service"},
		{4525, "tcp", "agents"},
		{4525, "udp", ""},
		{4789, "udp", "VXLAN"},
		{4789, "tcp", ""},
		{1, "tcp", ""},
		{80, "", ""},
		{5432, "tcp", ""},
		{65535, "udp", ""},
	} {
		a := cluster.Application{Name: "db", Image: "x", Ports: []cluster.Port{{Internal: 80}, {Internal: 1, External: c.port, Protocol: c.protocol}}}
		err := a.Validate()
		if c.use == "" {
			if err != nil {
				t.Errorf("%d/%s: %v; want it accepted", c.port, c.protocol, err)
			}
			continue
		}
		got := cluster.FieldErrors(err)
		if len(got) != 1 || got[0].Field != "applications.db.ports[1].external" || !strings.Contains(got[0].Problem, c.use) ||
			!strings.Contains(got[0].Problem, a.Ports[1].Published()) || !strings.Contains(got[0].Problem, "choose another external port") {
			t.Errorf("%d/%s: %v; want it kept for %s", c.port, c.protocol, err, c.use)
		}
	}
}

func TestPortsOfAnApplicationAreNumbersAndItsOwn(t *testing.T) {
	for _, c := range []struct {
		ports []cluster.Port
		says  string
	}{
		{[]cluster.Port{{Internal: 1, External: -1}}, "ports[0].external: -1 is not from 1 to 65535"},
		{[]cluster.Port{{Internal: 1, External: 65536}}, "ports[0].external: 65536 is not from 1 to 65535"},
		{[]cluster.Port{{Internal: 65536, External: 1}}, "ports[0].internal: 65536 is not from 1 to 65535"},
		{[]cluster.Port{{Internal: 1, External: 1, Protocol: "TCP"}}, `ports[0].protocol: "TCP" is neither tcp nor udp`},
		{
			[]cluster.Port{{Internal: 1, External: 80}, {Internal: 2, External: 80, Protocol: "tcp"}},
			"ports[1].external: 80/tcp is published by ports[0] already; choose another external port for one of them",
		},
	} {
		err := cluster.Application{Name: "db", Image: "x", Ports: c.ports}.Validate()
		if err == nil || err.Error() != "applications.db."+c.says {
			t.Errorf("%+v: %v; want %s", c.ports, err, c.says)
		}
	}
	both := []cluster.Port{{Internal: 53, External: 53, Protocol: "udp"}, {Internal: 53, External: 53}, {Internal: 53}, {Internal: 53}}
	if err := (cluster.Application{Name: "dns", Image: "x", Ports: both}).Validate(); err != nil {
		t.Errorf("a port of both protocols, and ports that are not published: %v", err)
	}
}
