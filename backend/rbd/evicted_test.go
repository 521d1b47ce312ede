// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// made creates a dataset through a driver.
func (p *pair) made(d backend.Driver, by backend.Volumes) backend.Volume {
	p.t.Helper()
	id := cluster.DatasetID(uuid.NewString())
	if err := d.Create(p.t.Context(), backend.Spec{Dataset: id, Size: p.Smallest(), Epoch: 1}); err != nil {
		p.t.Fatal(err)
	}
	all, err := by.List(p.t.Context())
	i := slices.IndexFunc(all, func(v backend.Volume) bool { return v.Dataset == id })
	if err != nil || i < 0 {
		p.t.Fatalf("List = %v, %v; want dataset %s in it", all, err, id)
	}
	return all[i]
}

// forgotten drops what the kernel remembers of a device's content.
func forgotten(t *testing.T, device string) {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		t.Fatal(err)
	}
}

// What is kept from one volume still has to see all of them, or it could not even unmount that one.
func TestVolumeThatAnEvictedMachineCannotReadHidesNoOther(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	d := p.Layer(t, one)
	lost, other := p.made(d, one), p.made(d, one)
	point := filepath.Join(p.Mounts(t), "lost")
	if err := d.(backend.Mounter).Mount(t.Context(), lost.Dataset, point); err != nil {
		t.Fatal(err)
	}
	p.evict(two, lost, p.names[0])
	if _, err := one.List(t.Context()); err != nil { // the device ends
		t.Fatal(err)
	}
	attached, err := one.Attached(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forgotten(t, attached[lost.ID])
	if _, err := unix.Getxattr(point, "trusted.flocker.head", make([]byte, 1024)); err != unix.EIO {
		t.Fatalf("reading the mounted volume = %v; the test wants %v", err, unix.EIO)
	}
	// A driver that starts anew has not read the volumes before.
	for _, driver := range []backend.Driver{d, p.Layer(t, one)} {
		copies, err := driver.List(t.Context())
		if err != nil || len(copies) != 2 {
			t.Fatalf("List = %+v, %v; want two copies", copies, err)
		}
		for _, c := range copies {
			if c.Dataset == lost.Dataset && c.Mounted != point || c.Dataset == other.Dataset && !c.Head {
				t.Errorf("List says of %s: %+v; want it as it is", c.Dataset, c)
			}
		}
	}
	if err := d.(backend.Mounter).Unmount(t.Context(), lost.Dataset); err != nil {
		t.Fatal(err)
	}
	forgotten(t, attached[lost.ID])
	if copies, err := p.Layer(t, one).List(t.Context()); err != nil || len(copies) != 2 {
		t.Errorf("List = %+v, %v with a device that cannot be read; want two copies", copies, err)
	}
	for _, v := range []backend.Volume{lost, other} {
		p.detach(one, v)
		p.destroy(one, v)
	}
}
