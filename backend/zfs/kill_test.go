// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/zfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// victim is what the process that gets killed is told, through its environment.
type victim struct {
	Config   zfs.Config
	Snapshot cluster.Snapshot
	Stream   string // the file with what Send wrote
	// Reverts, where there are any, are all that it does: it reverts to each in turn.
	Reverts []string
}

const victimVariable = "FLOCKER_ZFS_VICTIM"

// liveUntilKilled takes a dataset through its life again and again.
func liveUntilKilled(told string) error {
	var v victim
	if err := json.Unmarshal([]byte(told), &v); err != nil {
		return err
	}
	ctx := context.Background()
	d, err := zfs.Open(ctx, v.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if len(v.Reverts) > 0 {
			for _, snapshot := range v.Reverts {
				if err := d.Revert(ctx, dataset, snapshot); err != nil {
					return err
				}
			}
			continue
		}
		stream, err := os.Open(v.Stream)
		if err != nil {
			return err
		}
		_, err = d.Receive(ctx, backend.Arrival{Dataset: dataset}, backendtest.Saying(v.Snapshot), stream)
		err = errors.Join(err, stream.Close(),
			d.Clone(ctx, dataset, v.Snapshot.Name, backend.Spec{Dataset: dataset, Epoch: 2, Size: 64 << 20}, "move"),
			d.SetEpoch(ctx, dataset, 3, ""),
			d.DropHead(ctx, dataset),
			d.Destroy(ctx, dataset),
			d.Create(ctx, backend.Spec{Dataset: dataset, Epoch: 1}),
			d.Destroy(ctx, dataset))
		if err != nil {
			return err
		}
	}
}

// TestKilledAtAnyPoint kills a process in the middle of its work, and looks at what the next one finds.
func TestKilledAtAnyPoint(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 512<<20)
	v := victim{Config: b.config, Stream: filepath.Join(b.dir, "stream")}
	want := prepare(t, a, &v)
	if err := b.driver.Close(); err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 15
	seen := map[string]int{}
	for round := range rounds {
		killOne(t, string(told), time.Duration(round*97%900)*time.Millisecond)
		b.driver = open(t, b.config)
		seen[whatIsLeft(t, b, v.Snapshot, want)]++
		b.left(t)
		if err := errors.Join(b.driver.Destroy(t.Context(), dataset), b.driver.Close()); err != nil {
			t.Fatal(err)
		}
	}
	b.driver = open(t, b.config)
	t.Logf("found after %d kills: %v", rounds, seen)
}

// prepare makes a snapshot with its stream in a file, and says what is in it.
func prepare(t *testing.T, h *harness, v *victim) (content string) {
	t.Helper()
	err := errors.Join(
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		h.driver.Mount(t.Context(), dataset, h.Path(dataset)))
	for i := range 20 {
		err = errors.Join(err, h.Write(dataset, fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, 200_000)))
	}
	files, filesErr := h.Files(dataset)
	if err := errors.Join(err, filesErr, h.driver.Unmount(t.Context(), dataset)); err != nil {
		t.Fatal(err)
	}
	if v.Snapshot, err = h.driver.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 1}); err != nil {
		t.Fatal(err)
	}
	stream, err := os.Create(v.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.driver.Send(t.Context(), dataset, v.Snapshot.Name, "", stream), stream.Close()); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(files)
}

func killOne(t *testing.T, told string, after time.Duration) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := run.Command(t.Context(), self)
	cmd.Env, cmd.Stdout = []string{victimVariable + "=" + told}, in
	if err := errors.Join(cmd.Start(), in.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	<-time.After(after)
	if err := unix.Kill(cmd.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the victim ended by itself: %v", err)
	}
}

// whatIsLeft checks that all that shows is whole, and names it.
func whatIsLeft(t *testing.T, h *harness, want cluster.Snapshot, content string) string {
	t.Helper()
	copies, err := h.driver.List(t.Context())
	if err != nil || len(copies) > 1 {
		t.Fatalf("List = %+v, %v; want one dataset at most", copies, err)
	}
	if len(copies) == 0 {
		return "nothing"
	}
	c := copies[0]
	found := ""
	if len(c.Snapshots) > 0 {
		found = "snapshot"
		if c.Snapshots[0].ID != want.ID || len(c.Snapshots) > 1 {
			t.Errorf("snapshots = %+v; want %+v", c.Snapshots, want)
		}
	}
	if !c.Head {
		spec := backend.Spec{Dataset: dataset, Epoch: 9}
		if err := h.driver.Clone(t.Context(), dataset, want.Name, spec, ""); err != nil {
			t.Fatal(err)
		}
	} else {
		found += " head"
		if ok := c.Epoch == 2 && c.Scratch == "move" || c.Epoch == 3 && c.Scratch == "" || c.Epoch == 1 && len(c.Snapshots) == 0; !ok {
			t.Errorf("head = %+v; want one of those that were made", c)
		}
	}
	if err := h.driver.Mount(t.Context(), dataset, h.Path(dataset)); err != nil {
		t.Fatal(err)
	}
	files, err := h.Files(dataset)
	if err := errors.Join(err, h.driver.Unmount(t.Context(), dataset)); err != nil {
		t.Fatal(err)
	}
	if len(c.Snapshots) > 0 && fmt.Sprint(files) != content {
		t.Error("the snapshot's content is not what was sent")
	}
	return found
}
