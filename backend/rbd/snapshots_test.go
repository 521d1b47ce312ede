// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/cluster"
)

const first = "e0000000001-s0000000001"

func (p *pair) take(by *rbd.Store, v backend.Volume) {
	p.t.Helper()
	if _, err := by.TakeSnapshot(p.t.Context(), v, first); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) clone(by *rbd.Store, v backend.Volume) backend.Volume {
	p.t.Helper()
	c, err := by.CloneVolume(p.t.Context(), v, first, backend.Spec{Dataset: cluster.DatasetID(uuid.NewString())})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// write puts a text at a place of an attached volume, flushed.
func (p *pair) write(device, text string, at int64) {
	p.t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(text), at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		p.t.Fatal(err)
	}
}

// A machine that dies in a rollback leaves a volume that is neither; whoever attaches it next makes it what it was to become.
func TestRollbackThatBrokeOffIsFinishedByWhoAttachesNext(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	far := v.Size / 2
	device := p.attach(one, v)
	p.write(device, "old", 0)
	p.write(device, "old", far)
	p.take(one, v)
	p.write(device, "new", 0)
	p.write(device, "new", far)
	p.detach(one, v)
	p.admin(t, "rbd", "image-meta", "set", thePool+"/"+v.ID, "flocker-rollback-4711", first)
	p.attach(two, v)
	p.detach(two, v)
	if content := p.content(v); string(content[:3]) != "old" || string(content[far:far+3]) != "old" {
		t.Errorf("the volume has %q and %q; want what the snapshot has", content[:3], content[far:far+3])
	}
	if meta := p.admin(t, "rbd", "image-meta", "ls", thePool+"/"+v.ID); strings.Contains(meta, "rollback") {
		t.Errorf("what is noted of the volume is %s; want no rollback", meta)
	}
	if images := p.admin(t, "rbd", "ls", thePool); strings.Contains(images, "rollback-"+p.cluster) {
		t.Errorf("images = %s; want none that a rollback left", images)
	}
	p.destroy(two, v)
}

// What died after the clone was made and before it was marked left an image with its origin's mark.
func TestCloneThatBrokeOffIsNobodysAndIsFinished(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	p.take(one, v)
	c := p.clone(one, v)
	p.admin(t, "rbd", "image-meta", "set", thePool+"/"+c.ID, "flocker", strings.TrimSpace(p.admin(t, "rbd", "image-meta", "get", thePool+"/"+v.ID, "flocker")))
	fresh := p.open(p.config(1))
	if list, err := fresh.List(t.Context()); err != nil || len(list) != 1 || list[0].ID != v.ID {
		t.Errorf("List = %+v, %v; want %s alone", list, err, v.ID)
	}
	if _, err := fresh.Attach(t.Context(), c); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Attach = %v; want %v", err, backend.ErrNotFound)
	}
	again, err := two.CloneVolume(t.Context(), v, first, backend.Spec{Dataset: c.Dataset})
	if err != nil || again.ID != c.ID {
		t.Errorf("CloneVolume = %+v, %v; want %s", again, err, c.ID)
	}
	p.attach(two, c)
	p.detach(two, c)
	p.destroy(one, v)
	p.destroy(one, c)
}

func TestVolumeIsDestroyedWhileItsCloneIsWrittenElsewhere(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	far, beyond := v.Size/2, v.Size-grain
	device := p.attach(one, v)
	p.write(device, "old", 0)
	p.write(device, "old", far)
	p.take(one, v)
	p.detach(one, v)
	c := p.clone(one, v)
	device = p.attach(two, c)
	p.write(device, "new", far)
	p.destroy(one, v)
	p.write(device, "end", beyond)
	p.detach(two, c)
	content := p.content(c)
	if string(content[:3]) != "old" || string(content[far:far+3]) != "new" || string(content[beyond:beyond+3]) != "end" {
		t.Errorf("the clone has %q, %q and %q; want old, new and end", content[:3], content[far:far+3], content[beyond:beyond+3])
	}
	p.destroy(two, c)
}

func TestVolumeOfWhichAStrangerMadeACloneStays(t *testing.T) {
	p := newPair(t)
	one, _ := p.machines()
	v := p.volume(one)
	p.take(one, v)
	theirs := thePool + "/vm-" + p.cluster
	p.admin(t, "rbd", "clone", thePool+"/"+v.ID+"@"+first, theirs, "--rbd-default-clone-format", "2")
	if err := one.Destroy(t.Context(), v); !errors.Is(err, backend.ErrBusy) || !strings.Contains(err.Error(), "vm-"+p.cluster) {
		t.Errorf("Destroy = %v; want %v with the clone's name", err, backend.ErrBusy)
	}
	if list, err := one.List(t.Context()); err != nil || len(list) != 1 || len(list[0].Snapshots) != 1 {
		t.Errorf("List = %+v, %v; want the volume with its snapshot", list, err)
	}
	p.admin(t, "rbd", "rm", "--no-progress", theirs)
	p.destroy(one, v)
}
