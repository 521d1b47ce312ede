// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

func stopLeavesNoProcess(t *testing.T, s Subject) {
	a := s.started(t, "child", "wait")
	alive := s.Alive(t, a.Name)
	s.stop(t, a.Name, "", patience)
	if alive() {
		t.Error("a process is left after Stop()")
	}
	if found, _ := s.listed(t, a.Name); found.State != cluster.ContainerExited || found.ExitCode != 0 {
		t.Errorf("State = %s, ExitCode = %d; want exited with 0", found.State, found.ExitCode)
	}
}

func stopSignal(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	s.stop(t, a.Name, "SIGINT", patience)
	if found, _ := s.listed(t, a.Name); found.ExitCode != InterruptCode {
		t.Errorf("ExitCode = %d; want %d, that of SIGINT", found.ExitCode, InterruptCode)
	}
}

func stopOwnSignal(t *testing.T, s Subject) {
	a := s.application(t, "print=up", "wait")
	a.StopSignal = "SIGINT"
	s.create(t, a)
	s.start(t, a.Name)
	s.untilLogged(t, a.Name, "up")
	s.stop(t, a.Name, "", patience)
	if found, _ := s.listed(t, a.Name); found.ExitCode != InterruptCode {
		t.Errorf("ExitCode = %d; want %d, that of SIGINT", found.ExitCode, InterruptCode)
	}
}

func stopKills(t *testing.T, s Subject) {
	const killed = 128 + 9
	timeout := 300 * time.Millisecond
	a := s.started(t, "ignore-term", "child", "fill=100", "wait")
	alive := s.Alive(t, a.Name)
	started := time.Now()
	s.stop(t, a.Name, "", timeout)
	if alive() {
		t.Error("a process is left after Stop()")
	}
	if took := time.Since(started); took < timeout {
		t.Errorf("Stop() took %v; want at least the time-out, %v", took, timeout)
	}
	if found, _ := s.listed(t, a.Name); found.ExitCode != killed {
		t.Errorf("ExitCode = %d; want %d", found.ExitCode, killed)
	}
}

func stopAgain(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	s.stop(t, a.Name, "", patience)
	s.stop(t, a.Name, "", patience)
	s.stop(t, "suite-absent", "", patience)
	never := s.created(t, "wait")
	s.stop(t, never.Name, "", patience)
}

func stopCancelled(t *testing.T, s Subject) {
	a := s.started(t, "ignore-term", "wait")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Engine.Stop(ctx, a.Name, "", patience); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop() = %v; want DeadlineExceeded", err)
	}
	if !s.Alive(t, a.Name)() {
		t.Error("a cancelled Stop() killed the container; want it to have its time-out")
	}
}

func removeRunning(t *testing.T, s Subject) {
	a := s.started(t, "ignore-term", "wait")
	alive := s.Alive(t, a.Name)
	if err := s.Engine.Remove(t.Context(), a.Name); err != nil {
		t.Fatalf("Remove() = %v", err)
	}
	if alive() {
		t.Error("a process is left after Remove()")
	}
	if found, ok := s.listed(t, a.Name); ok {
		t.Errorf("Remove() left %+v", found)
	}
}

func removeAgain(t *testing.T, s Subject) {
	a := s.created(t, "wait")
	for range 2 {
		if err := s.Engine.Remove(t.Context(), a.Name); err != nil {
			t.Errorf("Remove() = %v", err)
		}
	}
}

func exitCodes(t *testing.T, s Subject) {
	a := s.created(t, "exit=3")
	s.start(t, a.Name)
	found := s.untilState(t, a.Name, cluster.ContainerExited)
	if found.ExitCode != 3 {
		t.Errorf("ExitCode = %d; want 3", found.ExitCode)
	}
	if found.Netns == "" {
		t.Error("Netns is empty; want the namespace to outlive the program")
	}
}

func eventsSignal(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := s.Engine.Events(ctx)
	if err != nil {
		t.Fatalf("Events() = %v", err)
	}
	a := s.created(t, "wait")
	s.start(t, a.Name)
	s.untilState(t, a.Name, cluster.ContainerRunning)
	select {
	case <-events:
	case <-time.After(patience):
		t.Error("no signal after a change")
	}
	cancel()
	for range events { // drained until it is closed
	}
}
