// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// compressed says whether all that a file holds is stored compressed.
func compressed(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const (
		getExtents = 0xc020660b // FS_IOC_FIEMAP
		encoded    = 0x8        // FIEMAP_EXTENT_ENCODED
		room       = 64
	)
	asked := struct {
		start, length         uint64
		flags, mapped, extent uint32
		_                     uint32
		extents               [room]struct {
			at, physical, length uint64
			_                    [2]uint64
			flags                uint32
			_                    [3]uint32
		}
	}{length: 1 << 62, flags: 1, extent: room}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getExtents, uintptr(unsafe.Pointer(&asked))); errno != 0 {
		t.Fatal(errno)
	}
	for _, e := range asked.extents[:asked.mapped] {
		if e.flags&encoded == 0 {
			return false
		}
	}
	return asked.mapped > 0
}

// A profile's compression is that of whatever is written into the dataset, and goes with it to a node that has no profiles at all.
func TestAProfileCompressesWhatIsWrittenHereAndThere(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	a.config.Profiles = backend.Profiles{"bronze": {"compression": "zstd"}, "gold": {}}
	a.Reopen(t)
	words := bytes.Repeat([]byte("the same words again and again "), 20_000)
	for profile, want := range map[string]bool{"bronze": true, "gold": false, "": false} {
		id := cluster.DatasetID(uuid.NewString())
		err := errors.Join(
			a.driver.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Profile: profile}),
			a.driver.Mount(t.Context(), id, a.Path(id)),
			os.Mkdir(filepath.Join(a.data(id), "folder"), 0o750),
			a.Write(id, "folder/words", words))
		if err != nil {
			t.Fatal(err)
		}
		if got := compressed(t, filepath.Join(a.data(id), "folder/words")); got != want {
			t.Errorf("compressed with profile %q = %v; want %v", profile, got, want)
		}
		one := a.snapshot(t, id, 1)
		b.takes(t, id, one, "", a.stream(t, id, one, ""))
		err = errors.Join(
			b.driver.Clone(t.Context(), id, one.Name, backend.Spec{Dataset: id, Epoch: 2, Profile: profile}, ""),
			b.driver.Mount(t.Context(), id, b.Path(id)),
			b.Write(id, "folder/more", words))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"folder/words", "folder/more"} {
			if got := compressed(t, filepath.Join(b.data(id), name)); got != want {
				t.Errorf("%s of profile %q, on the other node: compressed = %v; want %v", name, profile, got, want)
			}
		}
		equal(t, "sent with profile "+profile, tree(t, a.inPool("datasets", string(id), one.Name)), tree(t, b.inPool("datasets", string(id), one.Name)))
		if err := errors.Join(a.driver.Unmount(t.Context(), id), b.driver.Unmount(t.Context(), id)); err != nil {
			t.Error(err)
		}
	}
}

func TestAProfileThatThisKernelCannotHaveIsRefusedAtTheStart(t *testing.T) {
	h := newPool(t, 256<<20)
	config := h.config
	config.Profiles = backend.Profiles{"all": {"compression": "zlib"}, "every": {"compression": "lzo"}, "none": {"compression": "none"}, "wrong": {"compression": "rar"}}
	if err := h.driver.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := btrfs.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	if found := cluster.FieldErrors(err); len(found) != 1 || found[0].Field != "profiles.wrong.compression" || !strings.Contains(found[0].Problem, "rar") {
		t.Errorf("Open = %v; want a refusal of profiles.wrong.compression alone", err)
	}
	h.driver = open(t, h.config)
	if left, err := os.ReadDir(h.inPool("incoming")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := config.Profiles.Check(btrfs.ProfileOptions()); len(cluster.FieldErrors(err)) != 1 {
		t.Errorf("Check = %v; want a refusal of rar alone", err)
	}
	if err := (backend.Profiles{"fast": {"nodatacow": "on"}}).Check(btrfs.ProfileOptions()); len(cluster.FieldErrors(err)) != 1 {
		t.Errorf("Check of nodatacow = %v; want a refusal", err)
	}
}

// What runs on a full pool has to start again after a boot.
func TestAFullPoolOpensWithProfilesThatCannotBeTried(t *testing.T) {
	h := newPool(t, 256<<20)
	path := filepath.Join(h.config.Mount, "theirs")
	commands := func(all ...[]string) {
		t.Helper()
		for _, words := range all {
			if err := run.Command(t.Context(), "btrfs", words...).Run(); err != nil {
				t.Fatal(err)
			}
		}
	}
	commands([]string{"subvolume", "create", path}, []string{"quota", "enable", path})
	config := btrfs.Config{Path: path}
	if err := open(t, config).Close(); err != nil {
		t.Fatal(err)
	}
	commands([]string{"qgroup", "limit", "4096", path}, []string{"filesystem", "sync", path})
	if err := os.Mkdir(filepath.Join(path, "more"), 0o700); !errors.Is(err, unix.EDQUOT) {
		t.Fatalf("Mkdir = %v; want a full pool", err)
	}
	config.Profiles = backend.Profiles{"bronze": {"compression": "zstd"}}
	if err := open(t, config).Close(); err != nil {
		t.Error(err)
	}
}
