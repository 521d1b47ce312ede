// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// twice makes an unmounted head of epoch 4 with two snapshots of different content.
func (h *harness) twice(t *testing.T) (first, second cluster.Snapshot) {
	t.Helper()
	mustAll(t,
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 4, Size: 64 << 20}),
		h.driver.Mount(t.Context(), dataset, h.Path(dataset)),
		h.Write(dataset, "file", []byte("first")))
	first = h.snapshot(t, dataset, 4, 1)
	mustAll(t, h.Write(dataset, "file", []byte("second")))
	second = h.snapshot(t, dataset, 4, 2)
	mustAll(t, h.driver.Unmount(t.Context(), dataset))
	return first, second
}

// is wants a head of epoch 4 with its size and that content, and both snapshots.
func (h *harness) is(t *testing.T, content string) {
	t.Helper()
	if got := h.found(t); got != content {
		t.Errorf("the head has %q; want %q", got, content)
	}
}

func (h *harness) found(t *testing.T) string {
	t.Helper()
	copies, err := h.driver.List(t.Context())
	if err != nil || len(copies) != 1 || !copies[0].Head || copies[0].Epoch != 4 || copies[0].Size != 64<<20 || len(copies[0].Snapshots) != 2 {
		t.Fatalf("List = %+v, %v; want a head of epoch 4 with its size and both snapshots", copies, err)
	}
	mustAll(t, h.driver.Mount(t.Context(), dataset, h.Path(dataset)))
	files, err := h.Files(dataset)
	mustAll(t, err, h.driver.Unmount(t.Context(), dataset))
	return string(files["file"])
}

// lineOf is the filesystem that has a snapshot.
func (h *harness) lineOf(t *testing.T, s cluster.Snapshot) string {
	t.Helper()
	for name := range strings.Lines(command(t, "zfs", "list", "-H", "-o", "name", "-r", "-t", "snapshot", h.config.Pool)) {
		if line, of, _ := strings.Cut(strings.TrimSpace(name), "@"); of == s.Name {
			return line
		}
	}
	t.Fatalf("no filesystem has snapshot %s", s.Name)
	return ""
}

// heads are the filesystems that have the mark of a head.
func (h *harness) heads(t *testing.T) (names []string) {
	t.Helper()
	out := command(t, "zfs", "get", "-Hr", "-s", "local", "-o", "name", "org.flocker:head", h.config.Pool)
	for name := range strings.Lines(out) {
		if !strings.Contains(name, "@") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// TestKilledWhileReverting kills a process that reverts a head to and fro: there is always one head, wholly the one or the other, and
// nothing else.
func TestKilledWhileReverting(t *testing.T) {
	h := newPool(t, 256<<20)
	first, second := h.twice(t)
	told, err := json.Marshal(victim{Config: h.config, Reverts: []string{first.Name, second.Name}})
	mustAll(t, err, h.driver.Close())
	const rounds = 15
	seen := map[string]int{}
	for round := range rounds {
		killOne(t, string(told), time.Duration(round*61%500)*time.Millisecond)
		h.driver = open(t, h.config)
		content := h.found(t)
		if content != "first" && content != "second" {
			t.Fatalf("the head is neither of the two: %q", content)
		}
		if heads := h.heads(t); len(heads) != 1 {
			t.Errorf("heads = %v; want one", heads)
		}
		seen[content]++
		h.left(t)
		mustAll(t, h.driver.Close())
	}
	h.driver = open(t, h.config)
	t.Logf("found after %d kills: %v", rounds, seen)
}

// interruptRevert leaves what a process leaves that died right after the next head had appeared.
func (h *harness) interruptRevert(t *testing.T, to cluster.Snapshot) {
	t.Helper()
	command(t, "zfs", "clone", "-o", "canmount=noauto", "-o", "atime=off", "-o", "refquota=64M", "-o", "org.flocker:dataset="+string(dataset),
		"-o", `org.flocker:head={"epoch":4,"turn":1}`, h.lineOf(t, to)+"@"+to.Name, h.config.Pool+"/"+h.owner(t)+".default."+string(dataset)+".NEXT")
}

func TestARevertThatBrokeOffIsFinished(t *testing.T) {
	t.Run("ByTheNextStart", func(t *testing.T) {
		h := newPool(t, 256<<20)
		first, second := h.twice(t)
		h.interruptRevert(t, first)
		h.is(t, "first") // the next head is the head as soon as it is there
		h.Reopen(t)
		if heads := h.heads(t); len(heads) != 1 {
			t.Errorf("heads = %v; want one", heads)
		}
		mustAll(t, h.driver.Released(t.Context(), dataset, first.Name))
		h.is(t, "first")
		mustAll(t, h.driver.Revert(t.Context(), dataset, second.Name))
		h.is(t, "second")
	})
	t.Run("ByTheNextRevert", func(t *testing.T) {
		h := newPool(t, 256<<20)
		first, second := h.twice(t)
		h.interruptRevert(t, first)
		mustAll(t, h.driver.Revert(t.Context(), dataset, second.Name))
		h.is(t, "second")
		if heads := h.heads(t); len(heads) != 1 {
			t.Errorf("heads = %v; want one", heads)
		}
	})
	t.Run("ByTheEndOfTheHead", func(t *testing.T) {
		h := newPool(t, 256<<20)
		first, _ := h.twice(t)
		h.interruptRevert(t, first)
		mustAll(t, h.driver.DropHead(t.Context(), dataset))
		if copies, err := h.driver.List(t.Context()); err != nil || len(copies) != 1 || copies[0].Head || len(copies[0].Snapshots) != 2 {
			t.Errorf("List = %+v, %v; want both snapshots without a head", copies, err)
		}
	})
}

// TestARevertThatDoesNotFitTheSize: ZFS limits no filesystem to less than it has.
func TestARevertThatDoesNotFitTheSize(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t,
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 4}),
		h.driver.Mount(t.Context(), dataset, h.Path(dataset)),
		h.Write(dataset, "file", bytes.Repeat([]byte("large"), 4<<20)))
	large := h.snapshot(t, dataset, 4, 1)
	mustAll(t, h.Write(dataset, "file", []byte("small")))
	small := h.snapshot(t, dataset, 4, 2)
	mustAll(t, h.driver.Resize(t.Context(), dataset, 8<<20), h.driver.Unmount(t.Context(), dataset))
	if err := h.driver.Revert(t.Context(), dataset, large.Name); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Revert = %v; want %v", err, backend.ErrNoSpace)
	}
	h.left(t)
	mustAll(t,
		h.driver.Released(t.Context(), dataset, small.Name), // it is what it was
		h.driver.Resize(t.Context(), dataset, 0),
		h.driver.Revert(t.Context(), dataset, large.Name),
		h.driver.Released(t.Context(), dataset, large.Name))
}

// TestWhatOthersHaveInItKeepsAHeadFromBeingReverted: the former head has to be given up.
func TestWhatOthersHaveInItKeepsAHeadFromBeingReverted(t *testing.T) {
	h := newPool(t, 256<<20)
	first, second := h.twice(t)
	theirs := h.lineOf(t, second) + "@theirs"
	command(t, "zfs", "snapshot", theirs)
	if err := h.driver.Revert(t.Context(), dataset, first.Name); !errors.Is(err, backend.ErrBusy) || !strings.Contains(fmt.Sprint(err), theirs) {
		t.Errorf("Revert = %v; want %v that names %s", err, backend.ErrBusy, theirs)
	}
	h.is(t, "second")
	command(t, "zfs", "destroy", theirs)
	mustAll(t, h.driver.Revert(t.Context(), dataset, first.Name))
	h.is(t, "first")
}

// TestARevertedHeadIsSentFromWhatItWasMadeFrom: the snapshot of what was undone is no base of it, and says so before anything is sent.
func TestARevertedHeadIsSentFromWhatItWasMadeFrom(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	first, second := a.twice(t)
	ship(t, a, b, dataset, first, "")
	ship(t, a, b, dataset, second, first.Name)
	mustAll(t, a.driver.Revert(t.Context(), dataset, first.Name))
	third := a.snapshot(t, dataset, 4, 3)
	var stream bytes.Buffer
	if err := a.driver.Send(t.Context(), dataset, third.Name, second.Name, &stream); !errors.Is(err, backend.ErrUnfit) || stream.Len() > 0 {
		t.Errorf("Send from what was undone = %v with %d bytes; want %v with none", err, stream.Len(), backend.ErrUnfit)
	}
	ship(t, a, b, dataset, third, first.Name)
	mustAll(t, b.driver.Clone(t.Context(), dataset, third.Name, backend.Spec{Dataset: dataset, Epoch: 5}, ""),
		b.driver.Mount(t.Context(), dataset, b.Path(dataset)))
	if files, err := b.Files(dataset); err != nil || string(files["file"]) != "first" {
		t.Errorf("files = %q, %v; want those of the first", files, err)
	}
}
