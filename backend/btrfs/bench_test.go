// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// filled is a pool with a mounted dataset of some size.
func filled(b *testing.B, pool int64, size int) *harness {
	b.Helper()
	h := newPool(b, pool)
	check(b, h.driver.Create(b.Context(), backend.Spec{Dataset: dataset, Epoch: 1}))
	check(b, h.driver.Mount(b.Context(), dataset, h.Path(dataset)))
	b.Cleanup(func() { check(b, h.driver.Unmount(context.WithoutCancel(b.Context()), dataset)) })
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		b.Fatal(err)
	}
	check(b, h.Write(dataset, "first", data))
	return h
}

func (h *harness) take(b *testing.B, serial uint64) cluster.Snapshot {
	b.Helper()
	s, err := h.driver.Snapshot(b.Context(), dataset, backend.Lineage{Epoch: 1, Serial: serial})
	check(b, err)
	return s
}

func ship(b *testing.B, from, to *harness, s cluster.Snapshot, base string) {
	b.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(from.driver.Send(b.Context(), dataset, s.Name, base, w)) }()
	_, err := to.driver.Receive(b.Context(), backend.Arrival{Dataset: dataset, Base: base}, backendtest.Saying(s), r)
	check(b, err)
}

func BenchmarkSnapshotAfterAWrite(b *testing.B) {
	h := filled(b, 512<<20, 1<<20)
	for serial := uint64(1); b.Loop(); serial++ {
		b.StopTimer()
		check(b, h.Write(dataset, "small", []byte(fmt.Sprint(serial))))
		b.StartTimer()
		h.take(b, serial)
	}
}

func BenchmarkSendAndReceiveOfAnEmptyDelta(b *testing.B) {
	h, to := filled(b, 512<<20, 1<<20), newPool(b, 512<<20)
	base := h.take(b, 1)
	ship(b, h, to, base, "")
	for serial := uint64(2); b.Loop(); serial++ {
		b.StopTimer()
		s := h.take(b, serial)
		b.StartTimer()
		ship(b, h, to, s, base.Name)
		b.StopTimer()
		check(b, h.driver.DeleteSnapshot(b.Context(), dataset, base.Name))
		check(b, to.driver.DeleteSnapshot(b.Context(), dataset, base.Name))
		base = s
		b.StartTimer()
	}
}

func BenchmarkCloneAndMount(b *testing.B) {
	h := filled(b, 512<<20, 1<<20)
	s := h.take(b, 1)
	check(b, h.driver.Unmount(b.Context(), dataset))
	for b.Loop() {
		b.StopTimer()
		check(b, errors.Join(h.driver.Unmount(b.Context(), dataset), h.driver.DropHead(b.Context(), dataset)))
		b.StartTimer()
		check(b, h.driver.Clone(b.Context(), dataset, s.Name, backend.Spec{Dataset: dataset, Epoch: 2}, ""))
		check(b, h.driver.Mount(b.Context(), dataset, h.Path(dataset)))
	}
}

func BenchmarkUnmount(b *testing.B) {
	h := filled(b, 512<<20, 1<<20)
	for b.Loop() {
		check(b, h.driver.Unmount(b.Context(), dataset))
		b.StopTimer()
		check(b, h.driver.Mount(b.Context(), dataset, h.Path(dataset)))
		b.StartTimer()
	}
}

func BenchmarkReleased(b *testing.B) {
	h := filled(b, 512<<20, 1<<20)
	s := h.take(b, 1)
	check(b, h.driver.Unmount(b.Context(), dataset))
	for b.Loop() {
		check(b, h.driver.Released(b.Context(), dataset, s.Name))
	}
}

func BenchmarkListOf200(b *testing.B) {
	h := newPool(b, 512<<20)
	for range 200 {
		id := cluster.DatasetID(uuid.NewString())
		check(b, h.driver.Create(b.Context(), backend.Spec{Dataset: id, Epoch: 1}))
		_, err := h.driver.Snapshot(b.Context(), id, backend.Lineage{Epoch: 1, Serial: 1})
		check(b, err)
	}
	for b.Loop() {
		copies, err := h.driver.List(b.Context())
		if check(b, err); len(copies) != 200 {
			b.Fatalf("List has %d datasets", len(copies))
		}
	}
}

// BenchmarkLastDelta is what a move waits for: a database's last few hundred pages, anywhere in a large file.
func BenchmarkLastDelta(b *testing.B) {
	const pages, page, size = 300, 8 << 10, 1 << 30
	h, to := filled(b, 3<<30, size), newPool(b, 3<<30)
	base := h.take(b, 1)
	ship(b, h, to, base, "")
	file, err := os.OpenFile(filepath.Join(h.data(dataset), "first"), os.O_WRONLY, 0)
	check(b, err)
	defer file.Close()
	data := make([]byte, page)
	var took [3]time.Duration // of the snapshot, of sending alone, and of sending and receiving
	for serial := uint64(2); b.Loop(); serial++ {
		b.StopTimer()
		for i := range pages {
			data[0], data[page/2] = byte(serial), byte(i)
			_, err := file.WriteAt(data, mathrand.Int64N(size/page)*page)
			check(b, err)
		}
		check(b, file.Sync())
		b.StartTimer()
		begun := time.Now()
		s := h.take(b, serial)
		took[0] += time.Since(begun)
		b.StopTimer()
		begun = time.Now()
		check(b, h.driver.Send(b.Context(), dataset, s.Name, base.Name, io.Discard))
		took[1] += time.Since(begun)
		b.StartTimer()
		begun = time.Now()
		ship(b, h, to, s, base.Name)
		took[2] += time.Since(begun)
		base = s
	}
	for i, name := range []string{"ms-snapshot", "ms-send-alone", "ms-ship"} {
		b.ReportMetric(took[i].Seconds()*1000/float64(b.N), name)
	}
}

const bulk = 512 << 20

func BenchmarkCopy(b *testing.B) {
	h, to := filled(b, 1<<30, bulk), newPool(b, 1<<30)
	s := h.take(b, 1)
	b.SetBytes(bulk)
	for b.Loop() {
		ship(b, h, to, s, "")
		b.StopTimer()
		check(b, to.driver.Destroy(b.Context(), dataset))
		check(b, run.Command(b.Context(), "btrfs", "subvolume", "sync", to.config.Mount).Run())
		b.StartTimer()
	}
}

// BenchmarkCopyByHand is the baseline: the tools, joined by a pipe.
func BenchmarkCopyByHand(b *testing.B) {
	h, to := filled(b, 1<<30, bulk), newPool(b, 1<<30)
	s := h.take(b, 1)
	b.SetBytes(bulk)
	for b.Loop() {
		r, w, err := os.Pipe()
		check(b, err)
		send := run.Command(b.Context(), "btrfs", "--quiet", "send", h.inPool("datasets", string(dataset), s.Name))
		receive := run.Command(b.Context(), "btrfs", "--quiet", "receive", to.inPool("incoming"))
		send.Stdout, receive.Stdin = w, r
		check(b, errors.Join(send.Start(), receive.Start(), w.Close(), r.Close()))
		check(b, errors.Join(send.Wait(), receive.Wait()))
		check(b, run.Command(b.Context(), "btrfs", "filesystem", "sync", to.config.Mount).Run())
		b.StopTimer()
		check(b, run.Command(b.Context(), "btrfs", "subvolume", "delete", to.inPool("incoming", s.Name)).Run())
		check(b, run.Command(b.Context(), "btrfs", "subvolume", "sync", to.config.Mount).Run())
		b.StartTimer()
	}
}
