// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/docker"
	"github.com/flocker-project/flocker/internal/run"
)

func TestPauseProgramIsWhole(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := docker.PauseProgram(arch)
		if err != nil {
			t.Fatal(err)
		}
		file, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if file.Machine != machine || len(file.Progs) != 1 || file.Progs[0].Filesz != uint64(len(program)) {
			t.Errorf("%s: machine %v, segments %+v", arch, file.Machine, file.Progs)
		}
	}
	if _, err := docker.PauseProgram("mips"); err == nil {
		t.Error("PauseProgram(mips) = nil; want an error")
	}
}

func TestPauseProgramWaitsForASignal(t *testing.T) {
	t.Parallel()
	program, err := docker.PauseProgram(runtime.GOARCH)
	if err != nil {
		t.Skipf("needs a holder program: %v", err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	command := run.Command(ctx, path)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// A signal that comes before the program blocks it would kill it.
	untilWaits(t, command.Pid())
	if err := errors.Join(unix.Kill(command.Pid(), unix.SIGTERM), command.Wait()); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
}

// untilWaits waits until the process is the program, and sleeps; what it blocks is not to be seen while it waits for just that.
func untilWaits(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		stat, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(stat, []byte("(pause) S")) {
			return
		}
		<-tick.C
	}
	t.Fatal("never waits")
}

// killAll ends the application's container and its holder, as a reboot does.
func killAll(t *testing.T, a cluster.Application) {
	t.Helper()
	for _, name := range []string{container.NamePrefix + a.Name, container.HolderPrefix + a.Name} {
		wait := shared.api.ContainerWait(t.Context(), name, client.ContainerWaitOptions{})
		if _, err := shared.api.ContainerKill(t.Context(), name, client.ContainerKillOptions{Signal: "SIGKILL"}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-wait.Result:
		case err := <-wait.Error:
			t.Fatal(err)
		}
	}
}

func TestStartBringsTheHolderBack(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait", "listen=7000")
	create(t, e, a)
	start(t, e, a)
	before, _ := found(t, e, container.NamePrefix+a.Name)
	killAll(t, a)
	if c, _ := found(t, e, container.NamePrefix+a.Name); c.State != cluster.ContainerExited || c.Netns != "" {
		t.Fatalf("after a reboot List() shows %+v; want an exited container without a namespace", c)
	}
	start(t, e, a)
	after, _ := found(t, e, container.NamePrefix+a.Name)
	if after.State != cluster.ContainerRunning || after.Netns == "" || after.Netns == before.Netns || after.Address == "" {
		t.Fatalf("List() shows %+v; want it to run in a new namespace", after)
	}
	holder, err1 := os.Readlink(after.Netns)
	joined, err2 := os.Readlink(filepath.Join("/proc", itoa(inspect(t, container.NamePrefix+a.Name).State.Pid), "ns", "net"))
	if err := errors.Join(err1, err2); err != nil || holder != joined {
		t.Errorf("the container is in %s, its holder in %s, %v", joined, holder, err)
	}
}

func TestCreateBringsTheHolderBack(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	start(t, e, a)
	killAll(t, a)
	create(t, e, a)
	if c, _ := found(t, e, container.NamePrefix+a.Name); c.Netns == "" || c.State != cluster.ContainerExited {
		t.Errorf("List() shows %+v; want a namespace, to be gated before the start", c)
	}
}

func TestLostHolderIsMadeAgain(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	if _, err := shared.api.ContainerRemove(t.Context(), container.HolderPrefix+a.Name, client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), a.Name); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("Start() without the holder = %v; want ErrNotFound", err)
	}
	create(t, e, a)
	start(t, e, a)
}

func TestStrayHolderIsListedAndRemoved(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	if _, err := shared.api.ContainerRemove(t.Context(), container.NamePrefix+a.Name, client.ContainerRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	c, ok := found(t, e, container.NamePrefix+a.Name)
	if !ok || !c.Ours || c.State != cluster.ContainerCreated || c.Spec != "" {
		t.Errorf("List() shows %+v; want a created container of no specification", c)
	}
	if err := e.Remove(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	if c, ok := found(t, e, container.NamePrefix+a.Name); ok {
		t.Errorf("Remove() left %+v", c)
	}
}

func TestFailedCreationLeavesNothing(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	a.MemoryLimit = 1 // less than Docker takes
	if _, err := e.Create(t.Context(), spec(a, folder(t, "/given"))); err == nil {
		t.Fatal("Create() with a memory limit of one byte = nil; want an error")
	}
	if c, ok := found(t, e, container.NamePrefix+a.Name); ok {
		t.Errorf("left %+v", c)
	}
}

func TestSourcesGoWithTheContainer(t *testing.T) {
	t.Parallel()
	e := engine(t)
	m := folder(t, "/given")
	if err := os.WriteFile(filepath.Join(m.Source, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := application(t, e, "wait")
	create(t, e, a, m)
	link := inspect(t, container.NamePrefix+a.Name).Mounts[0].Source
	if err := e.Remove(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("link %s is left: %v", link, err)
	}
	if _, err := os.Lstat(filepath.Join(m.Source, "data")); err != nil {
		t.Errorf("the data is gone: %v", err)
	}
}
