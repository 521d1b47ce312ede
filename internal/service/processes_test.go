// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/flocker-project/flocker/internal/service"
)

func TestAServiceIsStartedOnce(t *testing.T) {
	host := service.Processes{RunDir: filepath.Join(t.TempDir(), "run"), LogDir: filepath.Join(t.TempDir(), "log")}
	s := service.Service{Name: "flocker-test", Program: "sleep", Command: "1000"}
	if started, err := host.Start(t.Context(), s); !started || err != nil {
		t.Fatalf("Start = %v, %v; want a new process", started, err)
	}
	first := pid(t, host, s)
	if started, err := host.Start(t.Context(), s); started || err != nil {
		t.Errorf("Start again = %v, %v; want nothing to do", started, err)
	}
	end(t, first)
	if started, err := host.Start(t.Context(), s); !started || err != nil {
		t.Errorf("Start after its end = %v, %v; want a new process", started, err)
	}
	end(t, pid(t, host, s))
}

// A pid in an old file may be another program's by now.
func TestAnotherProcessWithThatPidIsNotTheService(t *testing.T) {
	host := service.Processes{RunDir: t.TempDir(), LogDir: t.TempDir()}
	s := service.Service{Name: "flocker-test", Program: "sleep", Command: "1000"}
	file := filepath.Join(host.RunDir, s.Name+".pid")
	if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		t.Fatal(err)
	}
	if started, err := host.Start(t.Context(), s); !started || err != nil {
		t.Fatalf("Start = %v, %v; want a new process", started, err)
	}
	end(t, pid(t, host, s))
}

func TestAServiceThatEndsAtOnceIsAnErrorWithItsLastWords(t *testing.T) {
	host := service.Processes{RunDir: t.TempDir(), LogDir: t.TempDir()}
	_, err := host.Start(t.Context(), service.Service{Name: "flocker-test", Program: "sh", Command: "-c", Args: []string{"echo no such backend >&2; exit 1"}})
	if err == nil || !strings.Contains(err.Error(), "no such backend") {
		t.Errorf("Start = %v; want what the process said", err)
	}
}

func pid(t *testing.T, host service.Processes, s service.Service) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(host.RunDir, s.Name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func end(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
}
