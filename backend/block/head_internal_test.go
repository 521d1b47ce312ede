// SPDX-License-Identifier: Apache-2.0

package block

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/mount"
)

// What is on the disk the moment SetEpoch returns is what is there after the machine lost its power.
func TestAnEpochOutlivesALossOfPower(t *testing.T) {
	for filesystem, size := range sizes() {
		t.Run(filesystem, func(t *testing.T) {
			d, after := newDisk(t, size), newDisk(t, size)
			runtest.Programs(t, "mkfs."+filesystem)
			driver := d.driver(t, filesystem)
			must(t, driver.Create(t.Context(), spec()))
			must(t, driver.SetEpoch(t.Context(), dataset, 8, ""))
			after.change(t, func(f *os.File) error {
				from, err := os.Open(d.file)
				if err != nil {
					return err
				}
				defer from.Close()
				_, err = io.Copy(f, from)
				return err
			})
			must(t, driver.Detach(t.Context(), dataset))

			driver = after.driver(t, filesystem)
			must(t, driver.Attach(t.Context(), dataset))
			if err := driver.SetEpoch(t.Context(), dataset, 7, ""); !errors.Is(err, backend.ErrChanged) {
				t.Errorf("SetEpoch of a smaller one = %v; want %v", err, backend.ErrChanged)
			}
			must(t, driver.SetEpoch(t.Context(), dataset, 8, ""))
		})
	}
}

// Each read of a volume on a network takes its time, and a mount makes them one after the other.
func TestMountOfALargeVolumeReadsLittle(t *testing.T) {
	d := newDisk(t, 80<<30)
	driver := d.driver(t, "ext4")
	must(t, driver.Create(t.Context(), spec()))
	must(t, driver.Detach(t.Context(), dataset))
	must(t, driver.Attach(t.Context(), dataset))
	before := reads(t, d.device)
	must(t, driver.SetEpoch(t.Context(), dataset, 4, ""))
	if made := reads(t, d.device) - before; made > 60 {
		t.Errorf("%d reads of the disk; want at most 60", made)
	} else {
		t.Logf("%d reads of the disk", made)
	}
}

// Nothing writes to a volume but whoever uses it.
func TestNothingIsWrittenInTheBackground(t *testing.T) {
	d := newDisk(t, 1<<30)
	driver := d.driver(t, "ext4")
	must(t, driver.Create(t.Context(), spec()))
	must(t, driver.SetEpoch(t.Context(), dataset, 4, ""))
	text, err := os.ReadFile(filepath.Join("/proc/fs/ext4", filepath.Base(d.device), "options"))
	if err != nil || !strings.Contains(string(text), "\nnoinit_itable\n") {
		t.Errorf("it is mounted with %q, %v; want noinit_itable", text, err)
	}
}

// reads is how many reads of a disk there were.
func reads(t *testing.T, device string) (n int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "stat"))
	if err == nil {
		_, err = fmt.Sscan(string(text), &n)
	}
	must(t, err)
	return n
}

func TestSetEpochAndMountAreOneMount(t *testing.T) {
	d := newDisk(t, 64<<20)
	driver := d.driver(t, "ext4")
	must(t, driver.Create(t.Context(), spec()))
	must(t, driver.SetEpoch(t.Context(), dataset, 4, ""))
	held := driver.held[dataset]
	if held == nil {
		t.Fatal("SetEpoch holds no mount")
	}
	root, err := held.fs.Root()
	must(t, err)
	mark := filepath.Join(descriptor(root), backend.DataDir, "mark")
	must(t, os.WriteFile(mark, nil, 0o600))
	must(t, root.Close())
	path := filepath.Join(t.TempDir(), "point")
	must(t, driver.Mount(t.Context(), dataset, path))
	if driver.held[dataset] != nil {
		t.Error("the mount is still held after Mount")
	}
	_, err = os.Stat(filepath.Join(path, backend.DataDir, "mark"))
	must(t, errors.Join(err, driver.Unmount(t.Context(), dataset), mount.RemovePoint(path)))
	must(t, driver.Released(t.Context(), dataset, ""))
}

func TestWhatSomebodyMountedByHandIsNoHead(t *testing.T) {
	d := newDisk(t, 64<<20)
	must(t, run.Command(t.Context(), "mkfs.ext4", "-q", "-F", "-b", "4096", d.file).Run())
	driver := d.driver(t, "ext4")
	device, err := d.Attach(t.Context(), d.Volume)
	must(t, err)
	point := t.TempDir()
	must(t, mount.Device(device, point, "ext4", ""))
	for what, err := range map[string]error{
		"Create": driver.Create(t.Context(), spec()), "Attach": driver.Attach(t.Context(), dataset),
		"SetEpoch": driver.SetEpoch(t.Context(), dataset, 3, ""),
	} {
		if !errors.Is(err, backend.ErrChanged) {
			t.Errorf("%s = %v; want %v", what, err, backend.ErrChanged)
		}
	}
	if err := driver.Detach(t.Context(), dataset); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Detach = %v; want %v", err, backend.ErrBusy)
	}
	c, err := driver.List(t.Context())
	if err != nil || len(c) != 1 || c[0].Head || c[0].Mounted != point {
		t.Errorf("List = %+v, %v; want it mounted on %s without a head", c, err, point)
	}
	must(t, mount.Unmount(point))
}
