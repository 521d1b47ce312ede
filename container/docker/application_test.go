// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dockercontainer "github.com/moby/moby/api/types/container"
	dockermount "github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/docker"
)

// application is one of a name of its own, removed when the test ends.
func application(t *testing.T, e *docker.Engine, command ...string) cluster.Application {
	a := cluster.Application{Name: "docker-" + strings.ToLower(rand.Text()[:8]), Image: shared.image, Command: command}
	t.Cleanup(func() {
		if err := e.Remove(context.Background(), a.Name); err != nil { //nolint:usetesting // the test's own context has ended
			t.Error(err)
		}
	})
	return a
}

func create(t *testing.T, e *docker.Engine, a cluster.Application, mounts ...container.Mount) cluster.Container {
	t.Helper()
	made, err := e.Create(t.Context(), spec(a, mounts...))
	if err != nil {
		t.Fatalf("Create() = %v", err)
	}
	return made
}

// spec is the application with the address that it keeps in this process.
func spec(a cluster.Application, mounts ...container.Mount) container.Spec {
	return container.Spec{Application: a, Address: addresses.Of(a.Name), Mounts: mounts}
}

func start(t *testing.T, e *docker.Engine, a cluster.Application) {
	t.Helper()
	if err := e.Start(t.Context(), a.Name); err != nil {
		t.Fatalf("Start() = %v", err)
	}
}

func found(t *testing.T, e *docker.Engine, name string) (container.Found, bool) {
	t.Helper()
	all, err := e.List(t.Context())
	if err != nil {
		t.Fatalf("List() = %v", err)
	}
	i := slices.IndexFunc(all, func(f container.Found) bool { return f.Name == name })
	if i < 0 {
		return container.Found{}, false
	}
	return all[i], true
}

func inspect(t *testing.T, name string) dockercontainer.InspectResponse {
	t.Helper()
	got, err := shared.api.ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Container
}

// run starts a container that Flocker knows nothing of.
func foreign(t *testing.T, name string, labels map[string]string, mounts ...dockermount.Mount) {
	t.Helper()
	made, err := shared.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:       name,
		Config:     &dockercontainer.Config{Image: shared.image, Cmd: []string{"wait"}, Labels: labels},
		HostConfig: &dockercontainer.HostConfig{NetworkMode: "none", Mounts: mounts},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		options := client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}
		if _, err := shared.api.ContainerRemove(context.Background(), made.ID, options); err != nil { //nolint:usetesting // the test's own context has ended
			t.Error(err)
		}
	})
	if _, err := shared.api.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFieldReachesDocker(t *testing.T) {
	t.Parallel()
	e := engine(t)
	swappiness := int64(10)
	a := application(t, e, "wait")
	a.Environment = map[string]string{"OWN": "1", "EMPTY": ""}
	a.Links = []cluster.Link{{LocalPort: 5432, RemotePort: 15432, Alias: "my-db"}}
	a.MemoryLimit, a.CPUShares, a.Swappiness = 64<<20, 256, &swappiness
	a.User, a.StopSignal, a.StopTimeout = "1000:1000", "SIGINT", cluster.Duration(1500*time.Millisecond)
	create(t, e, a)
	got := inspect(t, container.NamePrefix+a.Name)
	service := network.Service().String()
	for _, want := range []string{
		"FROM_IMAGE=kept", "OWN=1", "EMPTY=",
		"MY_DB_PORT_5432_TCP=tcp://" + service + ":15432", "MY_DB_PORT_5432_TCP_ADDR=" + service,
		"MY_DB_PORT_5432_TCP_PORT=15432", "MY_DB_PORT_5432_TCP_PROTO=tcp",
	} {
		if !slices.Contains(got.Config.Env, want) {
			t.Errorf("environment has no %s: %q", want, got.Config.Env)
		}
	}
	if got.HostConfig.Memory != a.MemoryLimit || got.HostConfig.CPUShares != a.CPUShares {
		t.Errorf("memory %d, shares %d", got.HostConfig.Memory, got.HostConfig.CPUShares)
	}
	if got.Config.User != a.User || got.Config.StopSignal != a.StopSignal || *got.Config.StopTimeout != 2 {
		t.Errorf("user %s, stop %s after %d s", got.Config.User, got.Config.StopSignal, *got.Config.StopTimeout)
	}
	if got.HostConfig.RestartPolicy.Name != dockercontainer.RestartPolicyDisabled || len(got.HostConfig.Binds) != 0 {
		t.Errorf("restart policy %q, binds %q; Docker may start nothing by itself", got.HostConfig.RestartPolicy.Name, got.HostConfig.Binds)
	}
}

func folder(t *testing.T, target string) container.Mount {
	return container.Mount{Dataset: cluster.DatasetID("dataset" + target), Source: t.TempDir(), Target: target}
}

func TestReadOnlyMountsAreReadOnly(t *testing.T) {
	t.Parallel()
	e := engine(t)
	writable, readOnly := folder(t, "/writable"), folder(t, "/read-only")
	readOnly.ReadOnly = true
	for target, code := range map[string]int{writable.Target: 0, readOnly.Target: 1} {
		a := application(t, e, "write="+target+"/file")
		create(t, e, a, writable, readOnly)
		start(t, e, a)
		exited := waitExit(t, e, a)
		if exited.ExitCode != code {
			t.Errorf("writing to %s exits with %d; want %d", target, exited.ExitCode, code)
		}
	}
}

func waitExit(t *testing.T, e *docker.Engine, a cluster.Application) container.Found {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := e.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range events {
		if c, ok := found(t, e, container.NamePrefix+a.Name); ok && c.State == cluster.ContainerExited {
			return c
		}
	}
	t.Fatal("did not exit")
	return container.Found{}
}

// A mount of the host that appears under the source while the container runs must not appear in it, nor the other way round.
func TestMountsDoNotPropagate(t *testing.T) {
	t.Parallel()
	e := engine(t)
	m := folder(t, "/given")
	a := application(t, e, "wait")
	create(t, e, a, m)
	if got := inspect(t, container.NamePrefix+a.Name).Mounts; len(got) != 1 || got[0].Propagation != dockermount.PropagationRPrivate {
		t.Errorf("mounts are %+v; want one, private", got)
	}
}

func TestUnmountableSourceFailsTheStart(t *testing.T) {
	t.Parallel()
	e := engine(t)
	m := folder(t, "/given")
	a := application(t, e, "wait")
	create(t, e, a, m)
	link := inspect(t, container.NamePrefix+a.Name).Mounts[0].Source
	if target, err := os.Readlink(link); err != nil || target != m.Source {
		t.Fatalf("after Create() %s leads to %q, %v; want %s", link, target, err, m.Source)
	}
	// As Create leaves it when the agent dies in it.
	if err := errors.Join(os.Remove(link), os.Symlink("/proc/self/ns/mnt", link)); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.api.ContainerStart(t.Context(), container.NamePrefix+a.Name, client.ContainerStartOptions{}); err == nil {
		t.Error("Docker starts a container whose source is the guard; want the kernel to refuse")
	}
}

func TestDockerItselfCannotStartWithoutTheData(t *testing.T) {
	t.Parallel()
	e := engine(t)
	m := folder(t, "/given")
	m.Source = filepath.Join(m.Source, "data")
	a := application(t, e, "wait")
	create(t, e, a, m)
	if _, err := shared.api.ContainerStart(t.Context(), container.NamePrefix+a.Name, client.ContainerStartOptions{}); err == nil {
		t.Error("docker start without the data succeeds")
	}
	if _, err := os.Lstat(m.Source); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("docker start made the source: %v", err)
	}
	if err := os.Mkdir(m.Source, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, e, a)
}

func TestForeignContainersAreSeenWithTheirFolders(t *testing.T) {
	t.Parallel()
	e := engine(t)
	bound, device := t.TempDir(), t.TempDir()
	name := "foreign-" + strings.ToLower(rand.Text()[:8])
	foreign(t, name, nil,
		dockermount.Mount{Type: dockermount.TypeBind, Source: bound, Target: "/a"},
		dockermount.Mount{Type: dockermount.TypeVolume, Target: "/b", VolumeOptions: &dockermount.VolumeOptions{
			DriverConfig: &dockermount.Driver{Name: "local", Options: map[string]string{"type": "none", "o": "bind", "device": device}},
		}})
	c, ok := found(t, e, name)
	if !ok || c.Ours || !slices.Contains(c.Mounts, bound) || !slices.Contains(c.Mounts, device) {
		t.Errorf("List() shows %+v; want a foreign container with %s and %s", c, bound, device)
	}
}

func TestNamesOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for what, labels := range map[string]map[string]string{
		"a stranger's":      nil,
		"another cluster's": {"flocker.cluster": "another", "flocker.application": "taken"},
	} {
		a := application(t, e, "wait")
		name := container.NamePrefix + a.Name
		foreign(t, name, labels)
		if _, err := e.Create(t.Context(), spec(a)); !errors.Is(err, container.ErrNameTaken) {
			t.Errorf("%s: Create() = %v; want ErrNameTaken", what, err)
		}
		if err := e.Start(t.Context(), a.Name); !errors.Is(err, container.ErrNameTaken) {
			t.Errorf("%s: Start() = %v; want ErrNameTaken", what, err)
		}
		if err := e.Stop(t.Context(), a.Name, "", 0); !errors.Is(err, container.ErrNameTaken) {
			t.Errorf("%s: Stop() = %v; want ErrNameTaken", what, err)
		}
		if err := e.Remove(t.Context(), a.Name); err != nil {
			t.Errorf("%s: Remove() = %v", what, err)
		}
		if !inspect(t, name).State.Running {
			t.Errorf("%s: was stopped", what)
		}
	}
}
