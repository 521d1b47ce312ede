// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/rbd"
)

// ready makes a volume ready on a machine, which nobody notices.
func (p *pair) ready(on *rbd.Store, v backend.Volume) {
	p.t.Helper()
	for range 2 {
		if err := on.Ready(p.t.Context(), v); err != nil {
			p.t.Fatal(err)
		}
	}
	if attached, err := on.Attached(p.t.Context()); err != nil || len(attached) != 0 {
		p.t.Errorf("Attached = %v, %v; want nothing", attached, err)
	}
}

// The machine that is ready sees what the other wrote after that, and writes only once it has the lock.
func TestMachineThatIsReadyHasNothingUntilItHasTheLock(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	device := p.attach(one, v)
	p.ready(two, v)
	if got, err := two.Attach(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Attach = %s, %v; want %v", got, err, backend.ErrBusy)
	}
	p.ready(two, v)
	want := bytes.Repeat([]byte("written later "), 300)[:4096]
	p.write(device, string(want), 0)
	p.detach(one, v)
	if holder := p.holder(one, v); holder != "" {
		t.Errorf("attached to %q; want none while a machine is only ready", holder)
	}
	got, err := os.ReadFile(p.attach(two, v))
	if err != nil || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("the other machine reads %.20q, %v; want what was written after it was ready", got, err)
	}
	if holder := p.holder(one, v); holder != p.names[1] {
		t.Errorf("attached to %q; want %s", holder, p.names[1])
	}
	p.detach(two, v)
	p.destroy(one, v)
}

// What was made ready for nothing keeps nobody from removing the volume.
func TestWhatIsReadyIsGivenUp(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	p.ready(two, v)
	if err := two.Unready(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	p.ready(two, v)
	if _, err := p.open(p.config(1)).List(t.Context()); err != nil { // of the next process
		t.Fatal(err)
	}
	p.destroy(one, v)
}

// A volume that grew since is attached in the size of now.
func TestWhatIsReadyInAnotherSizeIsNotUsed(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	p.ready(two, v)
	grown := v
	grown.Size *= 2
	if err := one.Grow(t.Context(), v, grown.Size); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(p.attach(two, grown))
	if err != nil || int64(len(content)) != grown.Size {
		t.Errorf("the device has %d bytes, %v; want %d", len(content), err, grown.Size)
	}
	p.detach(two, grown)
	p.destroy(one, grown)
}
