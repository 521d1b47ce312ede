// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/docker"
	host "github.com/flocker-project/flocker/network"
)

// own6 is as own, with IPv6.
func own6(t *testing.T) (*docker.Engine, docker.Config, container.NetworkConfig) {
	t.Helper()
	e, c, config := own(t)
	if err := host.IPv6OfHost(); err != nil {
		t.Skipf("needs IPv6: %v", err)
	}
	config.Subnet6 = cluster.OwnSubnet6(c.Network)
	return e, c, config
}

func TestJoinMakesTheNetworkWithIPv6AndAnewWithout(t *testing.T) {
	t.Parallel()
	e, c, config := own6(t)
	join(t, e, config)
	first := inspectNetwork(t, c.Network)
	if !first.EnableIPv6 || len(first.IPAM.Config) != 2 {
		t.Fatalf("Join() made %+v", first.IPAM)
	}
	pool := first.IPAM.Config[1]
	service := cluster.Address6(config.Subnet6, config.Service())
	if pool.Subnet != config.Subnet6 || pool.Gateway != config.Gateway6() || pool.AuxAddress["service"] != service {
		t.Errorf("Join() made %+v; want %s with the gateway %s", pool, config.Subnet6, config.Gateway6())
	}
	join(t, openOnly(t, c), config)
	if inspectNetwork(t, c.Network).ID != first.ID {
		t.Error("Join() of the same made the network anew")
	}
	_, name := attach(t, c.Network, nil)
	without := config
	without.Subnet6 = netip.Prefix{}
	busy, ok := errors.AsType[*container.NetworkBusyError](e.Join(t.Context(), without))
	if !ok || len(busy.Foreign) != 1 || busy.Foreign[0] != name || !strings.Contains(busy.Have, config.Subnet6.String()) || strings.Contains(busy.Want, config.Subnet6.String()) {
		t.Errorf("Join() without IPv6 of a network in use = %+v", busy)
	}
	if _, err := shared.api.ContainerRemove(t.Context(), name, client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, other := range []container.NetworkConfig{without, config} {
		before := inspectNetwork(t, c.Network).ID
		join(t, e, other)
		if now := inspectNetwork(t, c.Network); now.ID == before || now.EnableIPv6 != other.Subnet6.IsValid() {
			t.Errorf("Join(%+v) left %+v", other, now.IPAM)
		}
	}
}

func TestAnApplicationHasItsIPv6AddressAtOnceAndKeepsIt(t *testing.T) {
	t.Parallel()
	e, c, config := own6(t)
	join(t, e, config)
	a := application(t, e, "wait")
	spec := container.Spec{Application: a, Address: config.Gateway.Next()}
	want := cluster.Address6(config.Subnet6, spec.Address)
	if _, err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"created", "started again", "created again", "made anew"} {
		switch when {
		case "started again":
			killAll(t, a)
		case "created again":
			if _, err := e.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		case "made anew":
			killAll(t, a)
			removeNetwork(t, c.Network)
			if _, err := e.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
		start(t, e, a)
		holder := inspect(t, container.HolderPrefix+a.Name)
		if flags := flagsOf(t, holder.State.Pid, want); flags != "82" {
			t.Errorf("%s: %s has the flags %q in the namespace; want it there for good, and not looked for elsewhere first", when, want, flags)
		}
		if got := resolve(t, e, a.Name, a.Name); got != spec.Address.String() {
			t.Errorf("%s: the application knows itself as %q; want %s alone", when, got, spec.Address)
		}
	}
}

// flagsOf are those of an address in a process's network namespace, as hexadecimal digits; empty where it is not there.
func flagsOf(t *testing.T, pid int, address netip.Addr) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/if_inet6", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 6 && fields[0] == hex.EncodeToString(address.AsSlice()) {
			return fields[4]
		}
	}
	return ""
}
