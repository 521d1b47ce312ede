// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/internal/run"
)

// machines are both machines of a pair, and what tests do with them.
func (p *pair) machines() (one, two *rbd.Store) {
	p.t.Helper()
	return p.open(p.config(0)), p.open(p.config(1))
}

func (p *pair) attach(m *rbd.Store, v backend.Volume) (device string) {
	p.t.Helper()
	began := time.Now()
	device, err := m.Attach(p.t.Context(), v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("attached in %v", time.Since(began).Round(time.Millisecond))
	return device
}

func (p *pair) detach(m *rbd.Store, v backend.Volume) {
	p.t.Helper()
	began := time.Now()
	if err := m.Detach(p.t.Context(), v); err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("detached in %v", time.Since(began).Round(time.Millisecond))
}

func (p *pair) evict(by *rbd.Store, v backend.Volume, machine string) {
	p.t.Helper()
	began := time.Now()
	if err := by.Evict(p.t.Context(), v, machine); err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("evicted in %v", time.Since(began).Round(time.Millisecond))
}

func (p *pair) destroy(m *rbd.Store, v backend.Volume) {
	p.t.Helper()
	if err := m.Destroy(p.t.Context(), v); err != nil {
		p.t.Error(err)
	}
}

// content is what the pool has of a volume, read by another program.
func (p *pair) content(v backend.Volume) []byte {
	p.t.Helper()
	return []byte(p.admin(p.t, "rbd", "export", "--no-progress", thePool+"/"+v.ID, "-"))
}

// holder is which machine the store says has the volume.
func (p *pair) holder(by *rbd.Store, v backend.Volume) string {
	p.t.Helper()
	list, err := by.List(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, other := range list {
		if other.ID == v.ID {
			return other.Machine
		}
	}
	p.t.Fatalf("volume %s is not listed", v.ID)
	return ""
}

// client is the process through which a machine writes.
func (p *pair) client(i int) run.Process {
	p.t.Helper()
	found, err := run.Processes(func(args []string) bool {
		return filepath.Base(args[0]) == "qemu-storage-daemon" && strings.Contains(strings.Join(args, " "), p.dirs[i])
	})
	if err != nil || len(found) != 1 {
		p.t.Fatalf("clients of machine %d = %v, %v; want one", i, found, err)
	}
	return found[0]
}

// blocklist is until when each client is on it.
func (p *pair) blocklist() map[string]string {
	p.t.Helper()
	var entries []struct{ Addr, Until string }
	// A second list, of ranges, follows the first.
	if err := json.NewDecoder(strings.NewReader(p.admin(p.t, "ceph", "osd", "blocklist", "ls", "--format", "json"))).Decode(&entries); err != nil {
		p.t.Fatal(err)
	}
	list := map[string]string{}
	for _, e := range entries {
		list[e.Addr] = e.Until
	}
	return list
}

// lockOf is how the image is locked.
func (p *pair) lockOf(v backend.Volume) (words, locker string) {
	p.t.Helper()
	var locks []struct{ ID, Locker string }
	if err := json.Unmarshal([]byte(p.admin(p.t, "rbd", "lock", "ls", thePool+"/"+v.ID, "--format", "json")), &locks); err != nil {
		p.t.Fatal(err)
	}
	if len(locks) == 0 {
		return "", ""
	}
	return locks[0].ID, locks[0].Locker
}

func (p *pair) lock(v backend.Volume, words string) {
	p.t.Helper()
	p.admin(p.t, "rbd", "lock", "add", thePool+"/"+v.ID, words)
}

func put(t *testing.T, device, text string, at int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(text), at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
}

const grain = 4096

// writer numbers every block of a device, again and again, as long as it can, as something that knows of nothing.
type writer struct {
	stop    chan struct{}
	stopped chan int64
}

func write(t *testing.T, device string, size int64) *writer {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{make(chan struct{}), make(chan int64, 1)}
	begun := make(chan struct{})
	go func() {
		written := int64(0)
		defer func() {
			f.Close() // reports that what was not written is lost
			w.stopped <- written
		}()
		for n := int64(0); ; n++ {
			select {
			case <-w.stop:
				return
			default:
			}
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xbb}, grain), grain*(n%(size/grain))); err != nil {
				continue
			}
			if written++; written == 10 {
				close(begun)
			}
		}
	}()
	<-begun
	return w
}

func (w *writer) end() (written int64) {
	close(w.stop)
	return <-w.stopped
}

// The evicted machine lives, knows nothing, and goes on writing, also after another has the volume.
func TestWritesOfAnEvictedMachineNeverReachTheVolume(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	w := write(t, p.attach(one, v), v.Size)
	p.evict(two, v, p.names[0])
	before := p.content(v)
	put(t, p.attach(two, v), "two is the owner", 0)
	copy(before, "two is the owner")
	if there := p.holder(two, v); there != p.names[1] {
		t.Errorf("it is attached to %q; want two", there)
	}
	p.detach(two, v)
	t.Logf("one had written %d blocks", w.end())
	if !bytes.Equal(before, p.content(v)) {
		t.Error("the volume has changed under its new owner")
	}
	p.detach(one, v)
	put(t, p.attach(one, v), "one is back", 0) // with a client that is not the one of before
	p.detach(one, v)
	p.destroy(one, v)
}

// freeze stops a process, and returns when none of its threads goes on.
func freeze(t *testing.T, p run.Process) (thaw func()) {
	t.Helper()
	if err := unix.Kill(p.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for running := true; running; <-tick.C {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("threads of process %d = %v, %v", p.Pid, threads, err)
		}
		running = slices.ContainsFunc(threads, func(path string) bool {
			text, err := os.ReadFile(path)
			return err == nil && !bytes.Contains(text, []byte(") T "))
		})
	}
	return func() {
		if err := unix.Kill(p.Pid, unix.SIGCONT); err != nil {
			t.Error(err)
		}
	}
}

// A frozen client has a write that it has not sent, and it sends it when it thaws.
func TestWritesOfAFrozenMachineNeverReachTheVolume(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	device := p.attach(one, v)
	put(t, device, "one is the owner", 0)
	thaw := freeze(t, p.client(0))
	late := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC|unix.O_DIRECT, 0)
		if err == nil {
			_, err = f.WriteAt(alignedBlock(0xbb), 10*grain)
			err = errors.Join(err, f.Close())
		}
		late <- err
	}()
	p.evict(two, v, p.names[0])
	before := p.content(v)
	if string(before[:16]) != "one is the owner" {
		t.Errorf("the volume has %q; want what was flushed", before[:16])
	}
	put(t, p.attach(two, v), "two is the owner", 0)
	copy(before, "two is the owner")
	thaw()
	if err := <-late; err == nil {
		t.Error("the write of the frozen machine was answered as if nothing had happened")
	}
	p.detach(two, v)
	if !bytes.Equal(before, p.content(v)) {
		t.Error("the volume has changed under its new owner")
	}
	p.detach(one, v)
	p.destroy(one, v)
}

// A write that nobody has flushed yet is not answered by an evicted machine either: what only its memory takes in would be told to a later
// flush, or to nobody.
func TestAnEvictedMachineAnswersNoWrite(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	device := p.attach(one, v)
	f, err := os.OpenFile(device, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(3) {
		if _, err := f.WriteAt(alignedBlock(0xaa), n*grain); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	p.evict(two, v, p.names[0])
	for n := range int64(20) {
		if _, err := f.WriteAt(alignedBlock(0xbb), n*grain); err == nil {
			t.Errorf("write %d was answered", n)
		}
	}
	if err := f.Close(); err != nil {
		t.Log(err)
	}
	p.detach(one, v)
	p.destroy(one, v)
}

// alignedBlock is memory that direct I/O takes.
func alignedBlock(fill byte) []byte {
	raw := make([]byte, 2*grain)
	skip := grain - int(uintptr(unsafe.Pointer(&raw[0]))%grain)
	return append(raw[skip:skip], bytes.Repeat([]byte{fill}, grain)...)
}

func TestEvictionIsOfOneVolumeOnlyAndForGood(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v, other := p.volume(one), p.volume(one)
	p.attach(one, v)
	device := p.attach(one, other)
	words, _ := p.lockOf(v)
	address := words[strings.LastIndexByte(words, ' ')+1:]
	before := p.blocklist()
	p.evict(two, v, p.names[0])
	var added []string
	for addr := range p.blocklist() {
		if _, was := before[addr]; !was {
			added = append(added, addr)
		}
	}
	if !slices.Equal(added, []string{address}) {
		t.Errorf("on the blocklist came %v; want only %s, the client of that volume", added, address)
	}
	until, err := time.Parse("2006-01-02T15:04:05.999999-0700", p.blocklist()[address])
	if err != nil || until.Before(time.Now().AddDate(9, 0, 0)) {
		t.Errorf("%s is on the blocklist until %v, %v; want years", address, until, err)
	}
	put(t, device, "goes on", 0)
	if got := p.content(other)[:7]; string(got) != "goes on" {
		t.Errorf("the other volume has %q", got)
	}
	for _, volume := range []backend.Volume{v, other} {
		p.detach(one, volume)
		p.destroy(one, volume)
	}
}

// Its writes may be under way still when nobody is there any more who waits for them.
func TestClientThatDiedIsFencedBeforeAnotherFollows(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	for _, again := range []func(){
		func() { p.attach(one, v) },
		func() {
			if err := one.Detach(t.Context(), v); err == nil {
				t.Error("Detach without its client = nil; want an error, once")
			}
			p.detach(one, v)
		},
	} {
		p.attach(one, v)
		words, _ := p.lockOf(v)
		if err := p.client(0).End(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		again()
		if address := words[strings.LastIndexByte(words, ' ')+1:]; p.blocklist()[address] == "" {
			t.Errorf("%s is not on the blocklist", address)
		}
	}
	put(t, p.attach(two, v), "two", 0)
	p.detach(two, v)
	p.destroy(two, v)
}

// The lock was taken, and then the machine went down.
func TestAttachmentWithoutADeviceIsGivenUpByItsOwner(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	words := "flocker " + p.names[0] + " 99999 127.0.0.1:0/4242"
	for _, end := range []func(){
		func() { p.attach(one, v); p.detach(one, v) },
		func() { p.detach(one, v) },
		func() { p.evict(two, v, p.names[0]) },
	} {
		p.admin(t, "ceph", "osd", "blocklist", "clear")
		p.lock(v, words)
		if _, err := two.Attach(t.Context(), v); !errors.Is(err, backend.ErrBusy) || !strings.Contains(err.Error(), p.names[0]) {
			t.Errorf("Attach = %v; want %v naming one", err, backend.ErrBusy)
		}
		end()
		if now, _ := p.lockOf(v); now != "" || p.blocklist()["127.0.0.1:0/4242"] == "" {
			t.Errorf("lock = %q, blocklist = %v; want no lock and its client blocked", now, p.blocklist())
		}
	}
	p.destroy(one, v)
}

// Whoever locked it, or an address that means a whole host.
func TestLockThatIsNotOursStays(t *testing.T) {
	p := newPair(t)
	one, two := p.machines()
	v := p.volume(one)
	for _, words := range []string{
		"backup", "flocker", "flocker " + p.names[0] + " 12 127.0.0.1:0/0", "flocker " + p.names[0] + " 12 127.0.0.1", "flocker " + p.names[0] + " x 127.0.0.1:0/7",
	} {
		p.lock(v, words)
		blocked := len(p.blocklist())
		_, locker := p.lockOf(v)
		if there := p.holder(two, v); there != locker {
			t.Errorf("lock %q: attached to %q; want %s", words, there, locker)
		}
		_, err := one.Attach(t.Context(), v)
		for what, err := range map[string]error{
			"Attach": err, "Destroy": one.Destroy(t.Context(), v), "Evict": two.Evict(t.Context(), v, locker), "Grow": one.Grow(t.Context(), v, 2*v.Size),
		} {
			if !errors.Is(err, backend.ErrBusy) {
				t.Errorf("lock %q: %s = %v; want %v", words, what, err, backend.ErrBusy)
			}
		}
		if err := errors.Join(two.Evict(t.Context(), v, p.names[0]), one.Detach(t.Context(), v)); err != nil {
			t.Error(err)
		}
		if now, _ := p.lockOf(v); now != words || len(p.blocklist()) != blocked {
			t.Errorf("lock = %q and %d on the blocklist; want %q and %d as before", now, len(p.blocklist()), words, blocked)
		}
		p.admin(t, "rbd", "lock", "rm", thePool+"/"+v.ID, words, locker)
	}
	p.destroy(one, v)
}
