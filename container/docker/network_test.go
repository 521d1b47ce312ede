// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/moby/moby/api/types/container"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/docker"
)

var networksMade atomic.Int32

// own is an engine with a network of this test's alone, not joined yet, and settings to join it with.
func own(t *testing.T) (*docker.Engine, docker.Config, container.NetworkConfig) {
	t.Helper()
	engine(t) // skips, or makes what all share
	n := int(networksMade.Add(1))
	c := config(t.TempDir())
	c.Network = fmt.Sprintf("%s-%d", c.Network, n)
	c.Bridge = fmt.Sprintf("%s-%d", c.Bridge, n)
	subnet := fmt.Sprintf("10.%d.%d.", 250+os.Getpid()%5, 2*((os.Getpid()/5+n)%128)) // one test makes it twice as large
	t.Cleanup(func() { removeNetwork(t, c.Network) })
	return openOnly(t, c), c, container.NetworkConfig{Subnet: netip.MustParsePrefix(subnet + "0/24"), Gateway: netip.MustParseAddr(subnet + "7")}
}

func removeNetwork(t *testing.T, name string) {
	_, err := shared.api.NetworkRemove(context.Background(), name, client.NetworkRemoveOptions{}) //nolint:usetesting // the test's own context has ended
	if err != nil && !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func join(t *testing.T, e *docker.Engine, config container.NetworkConfig) {
	t.Helper()
	if err := e.Join(t.Context(), config); err != nil {
		t.Fatalf("Join(%+v) = %v", config, err)
	}
}

func inspectNetwork(t *testing.T, name string) dockernetwork.Inspect {
	t.Helper()
	found, err := shared.api.NetworkInspect(t.Context(), name, client.NetworkInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Network
}

// attach makes a stranger's container on the network, not started.
func attach(t *testing.T, network string, labels map[string]string) (id, name string) {
	t.Helper()
	name = "foreign-of-" + network
	made, err := shared.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:       name,
		Config:     &dockercontainer.Config{Image: shared.image, Cmd: []string{"wait"}, Labels: labels},
		HostConfig: &dockercontainer.HostConfig{NetworkMode: dockercontainer.NetworkMode(network)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, made.ID) })
	return made.ID, name
}

func remove(t *testing.T, id string) {
	_, err := shared.api.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true}) //nolint:usetesting // also as a clean-up
	if err != nil && !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestJoinMakesTheNetworkAsToldAndAnewWhenUnused(t *testing.T) {
	t.Parallel()
	e, c, want := own(t)
	want.MTU = 1450
	join(t, e, want)
	first := inspectNetwork(t, c.Network)
	pool := first.IPAM.Config[0]
	if pool.Subnet != want.Subnet || pool.Gateway != want.Gateway || len(first.IPAM.Config) != 1 || first.Options["com.docker.network.driver.mtu"] != "1450" {
		t.Errorf("Join() made %+v with %v", first.IPAM, first.Options)
	}
	if pool.AuxAddress["service"] != want.Service() {
		t.Errorf("Docker could give the service address away: %v", pool.AuxAddress)
	}
	join(t, e, want)
	join(t, openOnly(t, c), want)
	if again := inspectNetwork(t, c.Network); again.ID != first.ID {
		t.Error("Join() of the same made the network anew")
	}
	for what, change := range map[string]func(){
		"MTU":     func() { want.MTU = 1400 },
		"gateway": func() { want.Gateway = want.Gateway.Next() },
		"subnet":  func() { want.Subnet = netip.PrefixFrom(want.Subnet.Addr(), 23).Masked() },
	} {
		before := inspectNetwork(t, c.Network).ID
		if change(); !want.Subnet.Contains(want.Gateway) {
			t.Fatal("the test's gateway is outside")
		}
		join(t, e, want)
		if inspectNetwork(t, c.Network).ID == before {
			t.Errorf("Join() with another %s left the network", what)
		}
	}
}

func TestDockerChoosesNoAddressInTheClusterNetwork(t *testing.T) {
	t.Parallel()
	e, c, config := own(t)
	join(t, e, config)
	id, _ := attach(t, c.Network, nil)
	if _, err := shared.api.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err == nil {
		t.Errorf("a stranger's container got %v, which may be an application's on another node", inspectNetwork(t, c.Network).Containers)
	}
}

func TestJoinNamesStrangersInTheWay(t *testing.T) {
	t.Parallel()
	for what, labels := range map[string]map[string]string{
		"a stranger's":      nil,
		"another cluster's": {"flocker.cluster": "another", "flocker.holder": "app"},
	} {
		e, c, config := own(t)
		join(t, e, config)
		id, name := attach(t, c.Network, labels)
		before := inspectNetwork(t, c.Network).ID
		config.MTU = 1300
		busy, ok := errors.AsType[*container.NetworkBusyError](e.Join(t.Context(), config))
		if !ok || !slices.Equal(busy.Foreign, []string{name}) || len(busy.Ours) != 0 {
			t.Fatalf("%s: Join() = %v; want a NetworkBusyError that names %s", what, busy, name)
		}
		if !strings.Contains(busy.Error(), name) || !strings.Contains(busy.Error(), "disconnect") {
			t.Errorf("%s: error %q does not say what to do", what, busy)
		}
		if inspectNetwork(t, c.Network).ID != before {
			t.Errorf("%s: the network was made anew under its container", what)
		}
		remove(t, id)
		join(t, e, config)
	}
}

func TestJoinNamesTheNetworkThatHasTheSubnet(t *testing.T) {
	t.Parallel()
	first, c, config := own(t)
	join(t, first, config)
	second, _, _ := own(t)
	config.Gateway = config.Gateway.Next()
	taken, ok := errors.AsType[*container.SubnetTakenError](second.Join(t.Context(), config))
	if !ok || taken.Other != c.Network || taken.OtherSubnet != config.Subnet || taken.Subnet != config.Subnet {
		t.Errorf("Join() of a taken subnet = %v; want a SubnetTakenError that names %s", taken, c.Network)
	}
}

func TestNetworkThatWasPrunedComesBack(t *testing.T) {
	t.Parallel()
	e, c, config := own(t)
	join(t, e, config)
	a := application(t, e, "wait")
	spec := container.Spec{Application: a, Address: config.Gateway.Next()}
	if _, err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	start(t, e, a)
	killAll(t, a)
	removeNetwork(t, c.Network)
	if err := e.Start(t.Context(), a.Name); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("Start() without the network = %v; want ErrNotFound", err)
	}
	made, err := e.Create(t.Context(), spec)
	if err != nil || made.Address != spec.Address.String() {
		t.Fatalf("Create() = %+v, %v; want the same address", made, err)
	}
	start(t, e, a)
}

// makeOld gives the application a holder as an earlier version made it, with an address of Docker's choice.
func makeOld(t *testing.T, e *docker.Engine, network string, a cluster.Application) {
	t.Helper()
	var made [2]dockercontainer.InspectResponse
	for i, name := range []string{container.HolderPrefix + a.Name, container.NamePrefix + a.Name} {
		made[i] = inspect(t, name)
	}
	if err := e.Remove(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	for i, c := range made {
		c.Config.ExposedPorts, c.Config.Hostname = nil, ""
		if i == 0 {
			c.HostConfig.NetworkMode = dockercontainer.NetworkMode(network)
		} else {
			c.HostConfig.NetworkMode = dockercontainer.NetworkMode("container:" + inspect(t, container.HolderPrefix+a.Name).ID)
		}
		_, err := shared.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
			Name: strings.TrimPrefix(c.Name, "/"), Config: c.Config, HostConfig: c.HostConfig,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestHolderOfAnEarlierVersionIsReplaced(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	makeOld(t, e, config("").Network, a)
	if err := e.Start(t.Context(), a.Name); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("Start() = %v; want ErrNotFound, so that it is created again", err)
	}
	create(t, e, a)
	start(t, e, a)
	if c, _ := found(t, e, container.NamePrefix+a.Name); c.Address != addresses.Of(a.Name).String() {
		t.Errorf("Address = %s; want %s", c.Address, addresses.Of(a.Name))
	}
}
