// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

func createNeedsNetwork(t *testing.T, s Subject) {
	a := s.application(t, "wait")
	e := s.Unjoined(t)
	if _, err := e.Create(t.Context(), s.spec(a)); !errors.Is(err, container.ErrNotJoined) {
		t.Errorf("Create() before Join() = %v; want ErrNotJoined", err)
	}
	if found, ok := s.listed(t, a.Name); ok {
		t.Errorf("a refused creation left %+v", found)
	}
	if err := e.Join(t.Context(), s.Network); err != nil {
		t.Fatalf("Join() = %v", err)
	}
	if _, err := e.Create(t.Context(), s.spec(a)); err != nil {
		t.Errorf("Create() after Join() = %v", err)
	}
}

func createNeedsAddress(t *testing.T, s Subject) {
	a := s.application(t, "wait")
	for what, address := range map[string]netip.Addr{
		"none":                  {},
		"outside":               netip.MustParseAddr("192.0.2.1"),
		"the node's own":        s.Network.Gateway,
		"the service address":   s.Network.Service(),
		"the network's own":     s.Network.Subnet.Addr(),
		"the broadcast address": cluster.LastAddress(s.Network.Subnet),
	} {
		spec := s.spec(a)
		spec.Address = address
		if _, err := s.Engine.Create(t.Context(), spec); err == nil {
			t.Errorf("Create(%s: %v) = nil; want an error", what, address)
		}
	}
	if found, ok := s.listed(t, a.Name); ok {
		t.Errorf("a refused creation left %+v", found)
	}
}

func createOtherLinks(t *testing.T, s Subject) {
	a := s.application(t, "wait")
	spec := s.spec(a)
	spec.Links = []container.Link{{Alias: "db", LocalPort: 5432, RemotePort: 15432, Address: s.Network.Service()}}
	for range 2 {
		if _, err := s.Engine.Create(t.Context(), spec); err != nil {
			t.Fatalf("Create() = %v", err)
		}
	}
	other := spec
	other.Links = []container.Link{{Alias: "db", LocalPort: 5432, RemotePort: 15433, Address: s.Network.Service()}}
	if _, err := s.Engine.Create(t.Context(), other); !errors.Is(err, container.ErrNameTaken) {
		t.Errorf("Create(other links) = %v; want ErrNameTaken", err)
	}
	nowhere := s.spec(s.application(t, "wait"))
	nowhere.Links = []container.Link{{Alias: "db", LocalPort: 5432, RemotePort: 15432}}
	if _, err := s.Engine.Create(t.Context(), nowhere); err == nil {
		t.Error("Create(a link to nowhere) = nil; want an error")
	}
}

func createOtherAddress(t *testing.T, s Subject) {
	a := s.created(t, "print=up", "wait")
	other := s.spec(a)
	other.Address = s.Addresses.Of(a.Name + "-other")
	made, err := s.Engine.Create(t.Context(), other)
	if err != nil || made.Address != other.Address.String() {
		t.Fatalf("Create() with another address = %s, %v; want %s", made.Address, err, other.Address)
	}
	s.start(t, a.Name)
	if _, err := s.Engine.Create(t.Context(), s.spec(a)); !errors.Is(err, container.ErrAddressDiffers) {
		t.Errorf("Create() of a running application with another address = %v; want ErrAddressDiffers", err)
	}
	if found, _ := s.listed(t, a.Name); found.Address != other.Address.String() || !s.Alive(t, a.Name)() {
		t.Errorf("after a refused creation it has %s; want it to run on with %s", found.Address, other.Address)
	}
}

func addressGivenOnce(t *testing.T, s Subject) {
	first, second := s.created(t, "wait"), s.application(t, "wait")
	spec := s.spec(second)
	spec.Address = s.Addresses.Of(first.Name)
	_, err := s.Engine.Create(t.Context(), spec)
	taken, ok := errors.AsType[*container.AddressTakenError](err)
	if !ok || taken.Container != container.HolderPrefix+first.Name || taken.Address != spec.Address || taken.Application != second.Name {
		t.Errorf("Create() with the address of %s = %v; want an AddressTakenError that names its holder", first.Name, err)
	}
	if found, ok := s.listed(t, second.Name); ok {
		t.Errorf("a refused creation left %+v", found)
	}
}

func addressStays(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	want := s.Addresses.Of(a.Name).String()
	s.stop(t, a.Name, "", patience)
	s.start(t, a.Name)
	if found, _ := s.listed(t, a.Name); found.Address != want {
		t.Errorf("Address = %s; want %s", found.Address, want)
	}
}

func joinAgain(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	before, _ := s.listed(t, a.Name)
	if err := s.Engine.Join(t.Context(), s.Network); err != nil {
		t.Fatalf("Join() again = %v", err)
	}
	after, _ := s.listed(t, a.Name)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("Join() again changed an application:\n%s", diff)
	}
}

func joinBusy(t *testing.T, s Subject) {
	a := s.created(t, "wait")
	e := s.Unjoined(t)
	if err := e.Join(t.Context(), s.Network); err != nil {
		t.Fatalf("Join() = %v", err)
	}
	other := s.Network
	other.Gateway = s.Addresses.Of("gateway of another network")
	busy, ok := errors.AsType[*container.NetworkBusyError](e.Join(t.Context(), other))
	if !ok || !slices.Contains(busy.Ours, container.HolderPrefix+a.Name) {
		t.Errorf("Join() of another network = %+v; want a NetworkBusyError that names %s", busy, a.Name)
	}
	if _, err := e.Create(t.Context(), s.spec(s.application(t, "wait"))); !errors.Is(err, container.ErrNotJoined) {
		t.Errorf("Create() after a Join() that failed = %v; want ErrNotJoined", err)
	}
	if err := e.Join(t.Context(), s.Network); err != nil {
		t.Errorf("Join() of the network that is there = %v", err)
	}
}

func joinRefuses(t *testing.T, s Subject) {
	for what, change := range map[string]func(c *container.NetworkConfig){
		"no subnet":                      func(c *container.NetworkConfig) { c.Subnet = netip.Prefix{} },
		"a gateway outside":              func(c *container.NetworkConfig) { c.Gateway = netip.MustParseAddr("192.0.2.1") },
		"no gateway":                     func(c *container.NetworkConfig) { c.Gateway = netip.Addr{} },
		"the service address as one's":   func(c *container.NetworkConfig) { c.Gateway = c.Service() },
		"a bad MTU":                      func(c *container.NetworkConfig) { c.MTU = -1 },
		"an IPv6 subnet of another size": func(c *container.NetworkConfig) { c.Subnet6 = netip.MustParsePrefix("fd00::/48") },
		"an IPv4 subnet as IPv6":         func(c *container.NetworkConfig) { c.Subnet6 = c.Subnet },
	} {
		config := s.Network
		change(&config)
		if err := s.Engine.Join(t.Context(), config); err == nil {
			t.Errorf("Join(%s) = nil; want an error", what)
		}
	}
}

func namesReach(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	db, web := s.Addresses.Of("db of "+a.Name), s.Addresses.Of("web of "+a.Name)
	for _, hosts := range []map[string]netip.Addr{
		{"db": db, "web": web},
		{"db": web, "web-2": db},
		{},
		{"db": db},
	} {
		for range 2 {
			if err := s.Engine.SetHosts(t.Context(), a.Name, hosts); err != nil {
				t.Fatalf("SetHosts(%v) = %v", hosts, err)
			}
		}
		for _, name := range []string{"db", "web", "web-2"} {
			want := ""
			if address, ok := hosts[name]; ok {
				want = address.String()
			}
			if got := s.Resolve(t, a.Name, name); got != want {
				t.Errorf("with %v the application knows %s as %q; want %q", hosts, name, got, want)
			}
		}
	}
	for _, bad := range []map[string]netip.Addr{{"two words": db}, {"a\nb": db}, {"a#b": db}, {"": db}, {"db": {}}} {
		if err := s.Engine.SetHosts(t.Context(), a.Name, bad); err == nil {
			t.Errorf("SetHosts(%q) = nil; want an error", bad)
		}
	}
}

func namesNeedApplication(t *testing.T, s Subject) {
	if err := s.Engine.SetHosts(t.Context(), "suite-absent", nil); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("SetHosts(absent) = %v; want ErrNotFound", err)
	}
}
