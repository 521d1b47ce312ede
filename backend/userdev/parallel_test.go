// SPDX-License-Identifier: Apache-2.0

package userdev_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend/userdev"
)

const (
	writers = 16
	area    = 4 << 20 // of each writer
	grain   = 4096
)

// The server of some versions mixes up writes of which several are under way, without an error; whatever the version here,
// what Start has chosen must not.
func TestParallelWritesArriveAsTheyWereWritten(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, writers*area), openDevices(t)
	how, err := userdev.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(how)
	device := start(t, devices, volume.spec("v1"))
	for round := range 4 {
		if bad := writeAndCompare(t, device, volume.file, uint64(round)); bad != 0 {
			t.Fatalf("round %d: %d blocks of %d are not as they were written", round, bad, writers*area/grain)
		}
	}
}

// writeAndCompare writes all of a device from many places at once, each block with its own number in every word, and
// counts the blocks that are different on the volume itself and on the device.
func writeAndCompare(t *testing.T, device, volume string, round uint64) (bad int) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var group errgroup.Group
	for w := range writers {
		group.Go(func() error { return writeArea(f, int64(w)*area, round) })
	}
	group.Go(func() error { return readAndFlush(f) }) // other requests between the writes
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	read := aligned(writers * area)
	if _, err := f.ReadAt(read, 0); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, grain)
	for at := int64(0); at < writers*area; at += grain {
		pattern(want, at, round)
		if !bytes.Equal(got[at:at+grain], want) || !bytes.Equal(read[at:at+grain], want) {
			bad++
		}
	}
	return bad
}

// writeArea writes requests of many sizes in an order of their own.
func writeArea(f *os.File, from int64, round uint64) error {
	source := rand.New(rand.NewPCG(uint64(from), round))
	buffer := aligned(128 * grain)
	var places [][2]int64
	for at := int64(0); at < area; {
		length := min((1+source.Int64N(128))*grain, area-at)
		places = append(places, [2]int64{from + at, length})
		at += length
	}
	source.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	for _, p := range places {
		for at := int64(0); at < p[1]; at += grain {
			pattern(buffer[at:at+grain], p[0]+at, round)
		}
		if _, err := f.WriteAt(buffer[:p[1]], p[0]); err != nil {
			return fmt.Errorf("write %d bytes at %d: %w", p[1], p[0], err)
		}
	}
	return nil
}

func readAndFlush(f *os.File) error {
	buffer := aligned(area / 4)
	for at := int64(0); at < writers*area; at += area / 4 {
		if _, err := f.ReadAt(buffer, at); err != nil {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func pattern(block []byte, at int64, round uint64) {
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], uint64(at+int64(i))<<8|round)
	}
}

// aligned is memory that direct I/O takes.
func aligned(size int) []byte {
	raw := make([]byte, size+grain)
	skip := grain - int(uintptr(unsafe.Pointer(&raw[0]))%grain)
	return raw[skip : skip+size]
}
