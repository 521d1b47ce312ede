// SPDX-License-Identifier: Apache-2.0

package userdev_test

import (
	"context"
	"errors"
	"testing"
)

func TestNobodyHasADeviceBeforeItIsAdmitted(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	refusal := errors.New("no")
	answers := []error{refusal, nil}
	spec := volume.spec("v1")
	spec.Admit = func(context.Context) error {
		if serverOf(t, devices, "v1") == 0 {
			t.Error("asked before the server runs")
		}
		if running, err := devices.Running(); err != nil || len(running) != 0 {
			t.Errorf("asked when the devices are %v, %v", running, err)
		}
		answer := answers[0]
		answers = answers[1:]
		return answer
	}
	if device, err := devices.Start(t.Context(), spec); !errors.Is(err, refusal) {
		t.Errorf("Start = %s, %v; want %v", device, err, refusal)
	}
	if pid := serverOf(t, devices, "v1"); pid != 0 {
		t.Errorf("process %d serves what was refused", pid)
	}
	device := start(t, devices, spec)
	if again := start(t, devices, spec); again != device || len(answers) != 0 {
		t.Errorf("second Start = %s with %d answers left; want %s, asked once", again, len(answers), device)
	}
	if serving, err := devices.Serving("v1"); err != nil || serving != device {
		t.Errorf("Serving = %q, %v; want %s", serving, err, device)
	}
	if err := endProcess(serverOf(t, devices, "v1")); err != nil {
		t.Fatal(err)
	}
	if serving, err := devices.Serving("v1"); err != nil || serving != "" {
		t.Errorf("Serving without a server = %q, %v; want nothing", serving, err)
	}
}
