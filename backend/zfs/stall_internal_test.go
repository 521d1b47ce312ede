// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// silent is a driver whose programs read nothing, say nothing and never end.
func silent(t *testing.T) *Driver {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"zfs", "zpool"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\nexec sleep 600\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return &Driver{limit: 50 * time.Millisecond, lines: map[string]*state{}}
}

func TestAProgramThatNeverEndsIsGivenUpAndNamed(t *testing.T) {
	d := silent(t)
	_, err := d.zfs(t.Context(), "mount", "tank/data")
	if !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "zfs mount tank/data") {
		t.Errorf("zfs = %v; want %v that names the command", err, errSilent)
	}
	if _, err := d.zpool(t.Context(), "get"); !errors.Is(err, errSilent) {
		t.Errorf("zpool = %v; want %v", err, errSilent)
	}
	head := &line{name: "tank/data"}
	if err := d.send(t.Context(), head, "one", "", io.Discard); !errors.Is(err, errSilent) {
		t.Errorf("send = %v; want %v", err, errSilent)
	}
}

// TestAReceiveThatTakesNothingIsGivenUp: the pipe to it is full, or it does not end with the stream.
func TestAReceiveThatTakesNothingIsGivenUp(t *testing.T) {
	const id = "5e4f7f7c-0000-4000-8000-000000000001"
	begin, end := make([]byte, recordSize), make([]byte, recordSize)
	binary.LittleEndian.PutUint64(begin[8:], beginMagic)
	binary.LittleEndian.PutUint64(begin[16:], substream)
	binary.LittleEndian.PutUint64(begin[40:], 1)
	copy(begin[56:], "tank/owner.default."+id+"@one")
	binary.LittleEndian.PutUint32(end, endType)
	for _, size := range []int{0, 1 << 20} {
		in := &incoming{driver: silent(t), id: id, target: "tank/new", snapshot: "in"}
		stream := bytes.NewReader(bytes.Join([][]byte{begin, make([]byte, size), end}, nil))
		err := in.apply(t.Context(), expected{dataset: id, name: "one", id: snapshot{guid: 1}.id()}, stream)
		if !errors.Is(err, errSilent) {
			t.Errorf("apply of %d bytes = %v; want %v", size, err, errSilent)
		}
	}
}
