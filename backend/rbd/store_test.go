// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

func TestVolumeGrowsWhileItIsAttachedAndNeverShrinks(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	f, err := os.OpenFile(p.attach(one, v), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{2 * v.Size, 2 * v.Size, v.Size} {
		if err := one.Grow(t.Context(), v, size); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := mount.DeviceSize(f); err != nil || got != 2*v.Size {
		t.Errorf("the device has %d bytes, %v; want %d", got, err, 2*v.Size)
	}
	if _, err := f.WriteAt([]byte("beyond"), v.Size+grain); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
	if err := two.Grow(t.Context(), v, 4*v.Size); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Grow on another machine = %v; want %v", err, backend.ErrBusy)
	}
	p.detach(one, v)
	if err := two.Grow(t.Context(), v, 3*v.Size); err != nil {
		t.Error(err)
	}
	if content := p.content(v); int64(len(content)) != 3*v.Size || string(content[v.Size+grain:v.Size+grain+6]) != "beyond" {
		t.Errorf("the volume has %d bytes; want %d with what was written", len(content), 3*v.Size)
	}
	p.destroy(one, v)
}

// headless takes away what makes an image more than a name, as a removal or a creation does that breaks off.
func (p *pair) headless(v backend.Volume) {
	p.t.Helper()
	var info struct{ ID string }
	if err := json.Unmarshal([]byte(p.admin(p.t, "rbd", "info", thePool+"/"+v.ID, "--format", "json")), &info); err != nil {
		p.t.Fatal(err)
	}
	p.admin(p.t, "rados", "--pool", thePool, "rm", "rbd_header."+info.ID)
}

func TestWhatWasInterruptedIsFinished(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	t.Run("Destroy", func(t *testing.T) {
		v := p.volume(one)
		p.lock(v, "flocker-destroy "+p.names[0])
		if there := p.holder(two, v); there != "" {
			t.Errorf("attached to %q; want none", there)
		}
		if _, err := one.Attach(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
			t.Errorf("Attach = %v; want %v", err, backend.ErrBusy)
		}
		p.destroy(two, v)
	})
	t.Run("DestroyOfWhatIsOnlyAName", func(t *testing.T) {
		v := p.volume(one)
		p.headless(v)
		if list, err := two.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("List = %v, %v; want nothing", list, err)
		}
		p.destroy(one, v)
	})
	t.Run("Create", func(t *testing.T) {
		v := p.volume(one)
		p.headless(v)
		again, err := two.Create(t.Context(), backend.Spec{Dataset: v.Dataset, Size: v.Size})
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("Create = %+v, %v; want %+v", again, err, v)
		}
		p.destroy(two, v)
	})
	t.Run("CreateBeforeTheMark", func(t *testing.T) {
		v := p.volume(one)
		p.admin(t, "rbd", "image-meta", "rm", thePool+"/"+v.ID, "flocker")
		if _, err := p.open(p.config(0)).Attach(t.Context(), v); !errors.Is(err, backend.ErrNotFound) {
			t.Errorf("Attach without a mark = %v; want %v", err, backend.ErrNotFound)
		}
		again, err := two.Create(t.Context(), backend.Spec{Dataset: v.Dataset, Size: v.Size})
		if list, failed := one.List(t.Context()); err != nil || failed != nil || !reflect.DeepEqual(again, v) || len(list) != 1 {
			t.Errorf("Create = %+v, %v, List = %v, %v; want %+v", again, err, list, failed, v)
		}
		p.destroy(two, v)
	})
}

func TestVolumeWithSnapshotsIsNotDestroyed(t *testing.T) {
	p := newPair(t)
	one, _ := p.machines()
	v := p.volume(one)
	p.admin(t, "rbd", "snap", "create", "--no-progress", thePool+"/"+v.ID+"@kept")
	if err := one.Destroy(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Destroy = %v; want %v", err, backend.ErrBusy)
	}
	if list, err := one.List(t.Context()); err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], v) {
		t.Errorf("List = %+v, %v; want %+v once", list, err, v)
	}
	p.attach(one, v) // it was given back
	p.detach(one, v)
	p.admin(t, "rbd", "snap", "purge", "--no-progress", thePool+"/"+v.ID)
	p.destroy(one, v)
}

// Ceph has one number for a pool, a key and an image that is not there.
func TestPoolThatIsNotThereIsNotAVolumeThatIsGone(t *testing.T) {
	p := newPair(t)
	config := p.config(0)
	config.Pool = "elsewhere"
	m := p.open(config)
	v := backend.Volume{ID: "flocker-" + p.cluster + "-8a9e1a3c-53a6-4f2e-9b8e-3b0d6f1c2d10"}
	_, listed := m.List(t.Context())
	_, attached := m.Attach(t.Context(), v)
	for what, err := range map[string]error{
		"List": listed, "Attach": attached, "Detach": m.Detach(t.Context(), v), "Destroy": m.Destroy(t.Context(), v), "Evict": m.Evict(t.Context(), v, p.names[1]),
	} {
		if err == nil || errors.Is(err, backend.ErrNotFound) {
			t.Errorf("%s = %v; want what Ceph says", what, err)
		}
	}
}
