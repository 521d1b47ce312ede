// SPDX-License-Identifier: Apache-2.0

// Package containertest is the contract of container.Engine as tests.
//
// An implementation's test opens a Subject for each promise and calls Run:
//
//	func TestContract(t *testing.T) { containertest.Run(t, open) }
package containertest

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Subject is an engine under test.
type Subject struct {
	Engine container.Engine
	// Image is an image whose entry point is the program of Behaviour; it is at /probe.
	Image string
	// Alive is the truth about an application, not asked of the engine: whether a process of its container is there. It looks
	// when what it returns is called, without delay.
	Alive func(t *testing.T, application string) func() bool
	// RemoveImage removes an image from the engine.
	RemoveImage func(t *testing.T, ref string)
	// Network is what the engine has joined.
	Network container.NetworkConfig
	// Addresses are those of Network.
	Addresses *Addresses
	// Unjoined opens the same runtime as an agent does that has just started.
	Unjoined func(t *testing.T) container.Engine
	// Resolve is what the application's container knows a name as; nothing is that it does not know it.
	Resolve func(t *testing.T, application, name string) string
	// CopyImage gives Image a second name of its own.
	CopyImage func(t *testing.T, ref string)
}

// Run checks every promise against an engine of its own.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	promises := map[string]func(t *testing.T, s Subject){
		"create needs the image":                      createNeedsImage,
		"create makes a namespace and does not start": createDoesNotStart,
		"create again is success":                     createAgain,
		"create of another spec is refused":           createOther,
		"create comes before the data":                createBeforeData,
		"create needs the cluster network":            createNeedsNetwork,
		"create needs an address of the network":      createNeedsAddress,
		"create of other links is refused":            createOtherLinks,
		"create with another address":                 createOtherAddress,
		"an address is given once":                    addressGivenOnce,
		"an address stays":                            addressStays,
		"join again is success":                       joinAgain,
		"join names what is in the way":               joinBusy,
		"join refuses what is no network":             joinRefuses,
		"names reach the application":                 namesReach,
		"names need an application":                   namesNeedApplication,
		"start of a missing source fails":             startMissingSource,
		"start again is success":                      startAgain,
		"start of an exited container":                startExited,
		"start of an absent container":                startAbsent,
		"stop leaves no process":                      stopLeavesNoProcess,
		"stop sends the asked signal":                 stopSignal,
		"stop sends the container's own signal":       stopOwnSignal,
		"stop kills after the time-out":               stopKills,
		"stop again is success":                       stopAgain,
		"stop ends with its context":                  stopCancelled,
		"remove of a running container":               removeRunning,
		"remove again is success":                     removeAgain,
		"pause keeps it from running":                 pauseKeeps,
		"pause needs a running container":             pauseNeedsRunning,
		"stop of a paused container":                  stopPaused,
		"exit codes are listed":                       exitCodes,
		"events signal changes":                       eventsSignal,
		"exec returns code and output":                execRuns,
		"exec needs a running container":              execNotRunning,
		"logs are the last lines":                     lastLogs,
		"images travel":                               imagesTravel,
		"missing images are missing":                  missingImages,
	}
	for name, promise := range promises {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel() // they wait more than they work
			promise(t, open(t))
		})
	}
}

// application is a valid one of a name that no other test uses, removed when the test ends.
func (s Subject) application(t *testing.T, command ...string) cluster.Application {
	a := cluster.Application{Name: "suite-" + strings.ToLower(rand.Text()[:8]), Image: s.Image, Command: command}
	t.Cleanup(func() {
		if err := s.Engine.Remove(context.Background(), a.Name); err != nil { //nolint:usetesting // the test's own context has ended
			t.Errorf("Remove(%s) = %v", a.Name, err)
		}
	})
	return a
}

// spec is the application with the address that it keeps in this test.
func (s Subject) spec(a cluster.Application, mounts ...container.Mount) container.Spec {
	return container.Spec{Application: a, Address: s.Addresses.Of(a.Name), Mounts: mounts}
}

// created makes the application's container.
func (s Subject) created(t *testing.T, command ...string) cluster.Application {
	a := s.application(t, command...)
	if _, err := s.Engine.Create(t.Context(), s.spec(a)); err != nil {
		t.Fatalf("Create(%s) = %v", a.Name, err)
	}
	return a
}

// started makes and starts the application's container, and waits until its program runs.
func (s Subject) started(t *testing.T, command ...string) cluster.Application {
	a := s.created(t, append([]string{"print=up"}, command...)...)
	s.start(t, a.Name)
	s.untilLogged(t, a.Name, "up")
	return a
}

func (s Subject) start(t *testing.T, application string) {
	t.Helper()
	if err := s.Engine.Start(t.Context(), application); err != nil {
		t.Fatalf("Start(%s) = %v", application, err)
	}
}

func (s Subject) stop(t *testing.T, application, signal string, timeout time.Duration) {
	t.Helper()
	if err := s.Engine.Stop(t.Context(), application, signal, timeout); err != nil {
		t.Fatalf("Stop(%s, %q, %v) = %v", application, signal, timeout, err)
	}
}

// listed finds the application among all containers.
func (s Subject) listed(t *testing.T, application string) (container.Found, bool) {
	t.Helper()
	all, err := s.Engine.List(t.Context())
	if err != nil {
		t.Fatalf("List() = %v", err)
	}
	for _, found := range all {
		if found.Ours && found.Application == application {
			return found, true
		}
	}
	return container.Found{}, false
}

// until looks at each event until the condition holds.
func (s Subject) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	events, err := s.Engine.Events(ctx)
	if err != nil {
		t.Fatalf("Events() = %v", err)
	}
	for {
		if condition() {
			return
		}
		if _, ok := <-events; !ok {
			t.Fatalf("after %v still not %s", patience, what)
		}
	}
}

func (s Subject) untilState(t *testing.T, application string, state cluster.ContainerState) container.Found {
	t.Helper()
	var found container.Found
	s.until(t, string(state), func() bool {
		found, _ = s.listed(t, application)
		return found.State == state
	})
	return found
}

// untilLogged waits for output, which makes no event.
func (s Subject) untilLogged(t *testing.T, application, text string) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		logs, err := s.Engine.Logs(t.Context(), application, 10)
		if err != nil {
			t.Fatalf("Logs(%s) = %v", application, err)
		}
		if strings.Contains(logs, text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s never printed %q", application, text)
		}
	}
}

// folder is a mount whose source is not there yet, as on a node that has not got the data.
func folder(t *testing.T) container.Mount {
	return container.Mount{
		Dataset: "1d9e9a2c-0000-4000-8000-000000000001",
		Source:  filepath.Join(t.TempDir(), "dataset", "data"),
		Target:  "/given",
	}
}

func mount(t *testing.T, m container.Mount) {
	t.Helper()
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		t.Fatal(err)
	}
}
