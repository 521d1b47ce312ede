// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"errors"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

func pauseKeeps(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	for range 2 { // again is success
		if err := s.Engine.Pause(t.Context(), a.Name); err != nil {
			t.Fatalf("Pause() = %v", err)
		}
		s.untilState(t, a.Name, cluster.ContainerPaused)
	}
	for range 2 {
		if err := s.Engine.Unpause(t.Context(), a.Name); err != nil {
			t.Fatalf("Unpause() = %v", err)
		}
		s.untilState(t, a.Name, cluster.ContainerRunning)
	}
	if code, _, err := s.Engine.Exec(t.Context(), a.Name, []string{"/probe", "exit=4"}); err != nil || code != 4 {
		t.Errorf("Exec() after a pause = %d, %v; want 4", code, err)
	}
}

func pauseNeedsRunning(t *testing.T, s Subject) {
	a := s.created(t, "wait")
	if err := s.Engine.Pause(t.Context(), a.Name); !errors.Is(err, container.ErrNotRunning) {
		t.Errorf("Pause(created) = %v; want ErrNotRunning", err)
	}
	if err := s.Engine.Unpause(t.Context(), a.Name); err != nil {
		t.Errorf("Unpause(created) = %v", err)
	}
	for what, err := range map[string]error{
		"Pause(absent)":   s.Engine.Pause(t.Context(), "suite-absent"),
		"Unpause(absent)": s.Engine.Unpause(t.Context(), "suite-absent"),
	} {
		if !errors.Is(err, container.ErrNotFound) {
			t.Errorf("%s = %v; want ErrNotFound", what, err)
		}
	}
}

func stopPaused(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	if err := s.Engine.Pause(t.Context(), a.Name); err != nil {
		t.Fatalf("Pause() = %v", err)
	}
	if err := s.Engine.Stop(t.Context(), a.Name, "", 10*time.Second); err != nil {
		t.Fatalf("Stop(paused) = %v", err)
	}
	if s.Alive(t, a.Name)() {
		t.Error("a process is left of a paused container that was stopped")
	}
}
