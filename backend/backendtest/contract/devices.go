// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
)

const mib = 1 << 20

func testDevices(t T, s Store) {
	t.Run("ABlockDeviceOfZeros", func(t T) {
		m := both(t, s)
		v := m.volume()
		device := m.attach(m.a, v)
		info, err := os.Stat(device)
		m.must(err)
		if info.Mode().Type() != os.ModeDevice {
			t.Errorf("%s is %s; want a block device", device, info.Mode())
		}
		f := m.open(device, os.O_RDONLY)
		defer f.Close()
		if size, err := f.Seek(0, io.SeekEnd); err != nil || size != v.Size {
			t.Errorf("size = %d, %v; want %d", size, err, v.Size)
		}
		if got := m.read(f, 0); !bytes.Equal(got, make([]byte, len(got))) {
			t.Error("a new volume does not hold zeros")
		}
	})
	t.Run("TheSameBytesOnTheOtherMachine", func(t T) {
		m := both(t, s)
		v := m.volume()
		places := []int64{0, 5 * mib, v.Size - 4096}
		on, other := m.a, m.b
		for round := range byte(4) {
			f := m.open(m.attach(on, v), os.O_RDWR)
			for i, at := range places {
				want := bytes.Repeat([]byte{round + byte(i)}, 4096)
				if round > 0 && !bytes.Equal(m.read(f, at), bytes.Repeat([]byte{round - 1 + byte(i)}, 4096)) {
					t.Errorf("round %d: at %d is not what the other machine wrote", round, at)
				}
				_, err := f.WriteAt(want, at)
				m.must(err)
			}
			m.must(errors.Join(f.Close(), on.Detach(t.Context(), v)))
			on, other = other, on
		}
	})
	t.Run("DetachWhileInUseIsRefusedAndStays", func(t T) {
		m := both(t, s)
		v := m.volume()
		device := m.attach(m.a, v)
		f := m.open(device, os.O_RDWR|unix.O_EXCL)
		defer f.Close()
		m.refused("Detach", m.a.Detach(t.Context(), v), backend.ErrBusy)
		if got := m.device(m.a, v); got != device {
			t.Errorf("Attached = %q; want %s", got, device)
		}
		if _, err := m.b.Attach(t.Context(), v); s.Machines() > 1 && !errors.Is(err, backend.ErrBusy) {
			t.Errorf("Attach elsewhere = %v; want %v", err, backend.ErrBusy)
		}
		_, err := f.WriteAt(make([]byte, 4096), 0)
		m.must(errors.Join(err, f.Sync(), f.Close()))
		if got := m.device(m.a, v); got != device {
			t.Errorf("Attached after its last user = %q; want %s", got, device)
		}
		m.must(m.a.Detach(t.Context(), v))
	})
}

func (m *machines) open(device string, flags int) *os.File {
	m.t.Helper()
	f, err := os.OpenFile(device, flags, 0)
	m.must(err)
	return f
}

func (m *machines) read(f *os.File, at int64) []byte {
	m.t.Helper()
	data := make([]byte, 4096)
	_, err := f.ReadAt(data, at)
	m.must(err)
	return data
}
