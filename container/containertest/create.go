// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

func createNeedsImage(t *testing.T, s Subject) {
	a := s.application(t)
	a.Image = "containertest/absent:1"
	if _, err := s.Engine.Create(t.Context(), s.spec(a)); !errors.Is(err, container.ErrImageMissing) {
		t.Errorf("Create() = %v; want ErrImageMissing", err)
	}
	if found, ok := s.listed(t, a.Name); ok {
		t.Errorf("a refused creation left %+v", found)
	}
}

func createDoesNotStart(t *testing.T, s Subject) {
	a := s.application(t, "wait")
	m := folder(t)
	made, err := s.Engine.Create(t.Context(), s.spec(a, m))
	if err != nil {
		t.Fatalf("Create() = %v", err)
	}
	found, _ := s.listed(t, a.Name)
	if diff := cmp.Diff(made, found.Container); diff != "" {
		t.Errorf("Create() and List() differ:\n%s", diff)
	}
	if found.State != cluster.ContainerCreated || s.Alive(t, a.Name)() {
		t.Errorf("state %s, alive %v; want a created container that does not run", found.State, s.Alive(t, a.Name)())
	}
	if found.Netns == "" || found.Address == "" || found.ID == "" {
		t.Errorf("Netns %q, Address %q, ID %q; want all of them before the start", found.Netns, found.Address, found.ID)
	}
	if found.Spec != a.SpecHash() {
		t.Errorf("Spec = %s; want %s", found.Spec, a.SpecHash())
	}
	if diff := cmp.Diff([]cluster.DatasetID{m.Dataset}, found.Datasets); diff != "" {
		t.Errorf("Datasets:\n%s", diff)
	}
	if diff := cmp.Diff([]string{m.Source}, found.Mounts); diff != "" {
		t.Errorf("Mounts:\n%s", diff)
	}
}

func createAgain(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	again, err := s.Engine.Create(t.Context(), s.spec(a))
	if err != nil || again.State != cluster.ContainerRunning {
		t.Errorf("Create() again = %s, %v; want the running container untouched", again.State, err)
	}
}

func createOther(t *testing.T, s Subject) {
	a := s.created(t, "wait")
	other := a
	other.Environment = map[string]string{"OTHER": "1"}
	if _, err := s.Engine.Create(t.Context(), s.spec(other)); !errors.Is(err, container.ErrNameTaken) {
		t.Errorf("Create(another spec) = %v; want ErrNameTaken", err)
	}
	mounts := []container.Mount{folder(t)}
	if _, err := s.Engine.Create(t.Context(), s.spec(a, mounts...)); !errors.Is(err, container.ErrNameTaken) {
		t.Errorf("Create(other mounts) = %v; want ErrNameTaken", err)
	}
	if found, _ := s.listed(t, a.Name); found.Spec != a.SpecHash() {
		t.Errorf("after a refused creation Spec = %s; want the first one's %s", found.Spec, a.SpecHash())
	}
	if err := s.Engine.Remove(t.Context(), a.Name); err != nil {
		t.Fatalf("Remove() = %v", err)
	}
	made, err := s.Engine.Create(t.Context(), s.spec(other, mounts...))
	if err != nil || made.Spec != other.SpecHash() {
		t.Errorf("Create() after Remove() = %s, %v; want spec %s", made.Spec, err, other.SpecHash())
	}
}

func createBeforeData(t *testing.T, s Subject) {
	a := s.application(t, "write=/given/file", "print=up", "wait")
	m := folder(t)
	if _, err := s.Engine.Create(t.Context(), s.spec(a, m)); err != nil {
		t.Fatalf("Create() without the source = %v", err)
	}
	if _, err := os.Lstat(m.Source); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("Create() made the source: %v", err)
	}
	mount(t, m)
	s.start(t, a.Name)
	s.untilLogged(t, a.Name, "up")
	text, err := os.ReadFile(filepath.Join(m.Source, "file"))
	if err != nil || string(text) != "written" {
		t.Errorf("the container's file is %q, %v; want it in the source", text, err)
	}
}

func startMissingSource(t *testing.T, s Subject) {
	a := s.application(t, "print=up", "wait")
	m := folder(t)
	if _, err := s.Engine.Create(t.Context(), s.spec(a, m)); err != nil {
		t.Fatalf("Create() = %v", err)
	}
	for range 2 {
		if err := s.Engine.Start(t.Context(), a.Name); err == nil {
			t.Fatal("Start() without the source = nil; want an error")
		}
		if _, err := os.Lstat(m.Source); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("Start() made the source: %v", err)
		}
	}
	mount(t, m)
	s.start(t, a.Name)
	if found, _ := s.listed(t, a.Name); found.State != cluster.ContainerRunning {
		t.Errorf("State = %s; want it to run once the source is there", found.State)
	}
}

func startAgain(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	before, _ := s.listed(t, a.Name)
	s.start(t, a.Name)
	after, _ := s.listed(t, a.Name)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("Start() of a running container changed it:\n%s", diff)
	}
}

func startExited(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	s.stop(t, a.Name, "", patience)
	s.start(t, a.Name)
	if found, _ := s.listed(t, a.Name); found.State != cluster.ContainerRunning || !s.Alive(t, a.Name)() {
		t.Errorf("State = %s, alive %v; want it to run again", found.State, s.Alive(t, a.Name)())
	}
}

func startAbsent(t *testing.T, s Subject) {
	if err := s.Engine.Start(t.Context(), "suite-absent"); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("Start(absent) = %v; want ErrNotFound", err)
	}
}
