// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/flocker-project/flocker/mount"
)

// OnFilesystem mounts a fresh filesystem of 4 GiB on a folder, until the test ends.
func OnFilesystem(t *testing.T, dir, fstype string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	ctx := context.WithoutCancel(t.Context())
	// Not t.TempDir: /tmp may be in memory, which knows no direct I/O.
	image, err := os.CreateTemp("/var/tmp", "flocker-filesystem-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(image.Close(), os.Remove(image.Name())); err != nil {
			t.Error(err)
		}
	})
	const size = 4 << 30
	if err := image.Truncate(size); err != nil {
		t.Fatal(err)
	}
	device, err := mount.MakeLoop(ctx, image, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.RemoveLoop(ctx, mount.Loop{Device: device, File: image.Name()}); err != nil {
			t.Error(err)
		}
	})
	fs := mount.Filesystem{Type: fstype, UUID: "0b1c2d3e-0000-4000-8000-00000000000f", Size: size}
	if err := errors.Join(mount.Format(ctx, device, fs, true), mount.Device(device, dir, fstype, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(dir); err != nil {
			t.Error(err)
		}
	})
}
