// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/mount"
)

// sizes are those of the smallest disks for each filesystem, nearly.
func sizes() map[string]int64 {
	return map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 160 << 20}
}

// Whatever part of what formatting writes reached the device before the machine lost its power, in whatever order, the next
// attach makes a whole head of it.
func TestFormattingThatBrokeOffAnywhereIsFinished(t *testing.T) {
	for filesystem, size := range sizes() {
		t.Run(filesystem, func(t *testing.T) {
			d := newDisk(t, size)
			runtest.Programs(t, "mkfs."+filesystem)
			driver := d.driver(t, filesystem)
			must(t, driver.Create(t.Context(), spec()))
			wantWhole(t, d, driver, filesystem)
			written := d.blocks(t)
			random := rand.New(rand.NewPCG(1, uint64(size)))
			for _, part := range []float64{0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, -0.02, -0.2, -0.5, -0.95} {
				d.clear(t)
				d.change(t, func(f *os.File) error {
					for i, b := range written {
						// A part from the beginning, as a dying process leaves it, or from anywhere, as a dying machine does.
						if part >= 0 && float64(i) >= part*float64(len(written)) || part < 0 && random.Float64() > -part {
							continue
						}
						if _, err := f.WriteAt(b.data, b.at); err != nil {
							return err
						}
					}
					return mark{dataset, filesystem, 3, asked, false}.write(f, body(size))
				})
				driver := d.driver(t, filesystem)
				_, err := d.Attach(t.Context(), d.Volume)
				must(t, err)
				c, err := driver.List(t.Context())
				if err != nil || len(c) != 1 || c[0].Head || c[0].Device == "" {
					t.Errorf("List before = %+v, %v; want a device without a head", c, err)
				}
				if err := driver.Mount(t.Context(), dataset, t.TempDir()+"/point"); !errors.Is(err, backend.ErrNotFound) {
					t.Errorf("Mount before = %v; want %v", err, backend.ErrNotFound)
				}
				must(t, driver.Attach(t.Context(), dataset))
				wantWhole(t, d, driver, filesystem)
			}
		})
	}
}

func TestFormattingThatIsKilledIsFinished(t *testing.T) {
	for filesystem, size := range sizes() {
		t.Run(filesystem, func(t *testing.T) {
			d := newDisk(t, size)
			runtest.Programs(t, "mkfs."+filesystem)
			killed := 0
			for after := time.Millisecond / 4; after < 50*time.Millisecond; after = after * 3 / 2 {
				d.clear(t)
				driver := d.driver(t, filesystem)
				ctx, cancel := context.WithTimeout(t.Context(), after)
				if err := driver.Create(ctx, spec()); err != nil {
					killed++
				}
				cancel()
				must(t, driver.Create(t.Context(), spec()))
				wantWhole(t, d, driver, filesystem)
			}
			if killed == 0 {
				t.Error("nothing was killed before its end")
			}
		})
	}
}

// What is on the device that is not Flocker's stays, to the last bit.
func TestWhatCarriesAnythingIsNeverFormatted(t *testing.T) {
	const size = 64 << 20
	poke := func(at int64, data string) func(*testing.T, *disk) {
		return func(t *testing.T, d *disk) {
			t.Helper()
			d.change(t, func(f *os.File) error {
				_, err := f.WriteAt([]byte(data), at)
				return err
			})
		}
	}
	program := func(name string, args ...string) func(*testing.T, *disk) {
		return func(t *testing.T, d *disk) {
			t.Helper()
			runtest.Programs(t, name)
			must(t, run.Command(t.Context(), name, append(args, d.file)...).Run())
		}
	}
	for name, put := range map[string]func(*testing.T, *disk){
		"ext4":                         program("mkfs.ext4", "-q", "-F"),
		"btrfs":                        program("mkfs.btrfs", "-q", "-f", "--mixed"),
		"swap":                         program("mkswap"),
		"a partition table":            poke(510, "\x55\xaa"),
		"a GPT's copy at the end":      poke(size-512, "EFI PART"),
		"LVM":                          poke(512, "LABELONE"),
		"RAID at the end":              poke(size-64<<10, "\xfc\x4e\x2b\xa9"),
		"one byte at the start":        poke(0, "x"),
		"one byte of the first MiB":    poke(1<<20-1, "x"),
		"one byte of the last MiB":     poke(size-1<<20, "x"),
		"the last byte":                poke(size-1, "x"),
		"data whose head was wiped":    poke(body(size)/samples*30&^4095, "data"),
		"another dataset's formatting": poke(body(size), mark{"0b1c2d3e-4f50-4000-8000-00000000000b", "ext4", 1, cluster.Root{}, false}.text()),
		"a damaged mark":               poke(body(size), mark{dataset, "ext4", 1, cluster.Root{}, false}.text()[1:]),
		"a mark of another epoch":      poke(body(size), mark{dataset, "ext4", 1, cluster.Root{}, false}.text()[:40]),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, size)
			put(t, d)
			before := d.sum(t)
			driver := d.driver(t, "ext4")
			for what, err := range map[string]error{
				"Create": driver.Create(t.Context(), spec()), "Attach": driver.Attach(t.Context(), dataset),
				"SetEpoch": driver.SetEpoch(t.Context(), dataset, 3, ""),
			} {
				if !errors.Is(err, backend.ErrExists) {
					t.Errorf("%s = %v; want %v", what, err, backend.ErrExists)
				}
			}
			if c, err := driver.List(t.Context()); err != nil || len(c) != 1 || c[0].Head || c[0].Device == "" {
				t.Errorf("List = %+v, %v; want a device without a head", c, err)
			}
			must(t, driver.Detach(t.Context(), dataset))
			if d.sum(t) != before {
				t.Error("the disk was changed")
			}
		})
	}
}

func TestAttachLeavesABlankVolumeToCreate(t *testing.T) {
	d := newDisk(t, 64<<20)
	driver := d.driver(t, "ext4")
	before := d.sum(t)
	must(t, driver.Attach(t.Context(), dataset))
	if c, err := driver.List(t.Context()); err != nil || len(c) != 1 || c[0].Head || c[0].Device == "" {
		t.Errorf("List = %+v, %v; want a device without a head", c, err)
	}
	if err := driver.SetEpoch(t.Context(), dataset, 1, ""); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("SetEpoch = %v; want %v", err, backend.ErrNotFound)
	}
	must(t, driver.Detach(t.Context(), dataset))
	if d.sum(t) != before {
		t.Error("the disk was changed")
	}
	must(t, driver.Create(t.Context(), spec()))
	wantWhole(t, d, driver, "ext4")
}

func TestAnothersHeadIsRefusedAndLetGo(t *testing.T) {
	for name, r := range map[string]record{"another dataset's": {"0b1c2d3e-4f50-4000-8000-00000000000b", 1}, "nobody's": {}} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, 64<<20)
			driver := d.driver(t, "ext4")
			must(t, driver.Create(t.Context(), spec()))
			must(t, driver.within(t.Context(), dataset, func(at place) error { return writeRecord(at.root, r) }))
			must(t, driver.Released(t.Context(), dataset, ""))
			if err := driver.SetEpoch(t.Context(), dataset, 3, ""); !errors.Is(err, backend.ErrChanged) {
				t.Errorf("SetEpoch = %v; want %v", err, backend.ErrChanged)
			}
			if err := driver.Mount(t.Context(), dataset, t.TempDir()); !errors.Is(err, backend.ErrChanged) {
				t.Errorf("Mount = %v; want %v", err, backend.ErrChanged)
			}
			f, err := mount.OpenExclusive(d.device)
			if err != nil {
				t.Fatalf("the device is still in use: %v", err)
			}
			must(t, f.Close())
		})
	}
}
