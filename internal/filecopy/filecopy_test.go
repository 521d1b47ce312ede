// SPDX-License-Identifier: Apache-2.0

package filecopy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/filecopy"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
)

// filesystem is a folder on a real filesystem of a kind.
func filesystem(t *testing.T, kind string, size int64) string {
	t.Helper()
	runtest.Need(t, "mkfs."+kind)
	file, point := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, size))
	must(t, run.Command(t.Context(), "mkfs."+kind, "-q", file).Run())
	must(t, run.Command(t.Context(), "mount", "-o", "loop", file, point).Run())
	t.Cleanup(func() { must(t, run.Command(context.WithoutCancel(t.Context()), "umount", point).Run()) })
	folder := filepath.Join(point, "data")
	must(t, os.Mkdir(folder, 0o755))
	return folder
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func quiet(filecopy.State) error { return nil }

const (
	disk = 256 << 20
	acl  = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe7\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
)

// furnish makes one of everything.
func furnish(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	noise := make([]byte, 3<<20+17)
	rng := rand.NewChaCha8([32]byte{})
	_, err := rng.Read(noise)
	must(t, err)
	must(t, os.MkdirAll(at("inner/deeper"), 0o755), os.Mkdir(at("empty"), 0o755), os.WriteFile(at("inner/file"), noise, 0o600), os.WriteFile(at("nothing"), nil, 0o644))
	holes(t, at("sparse"), noise[:70000])
	must(t, os.Truncate(at("nothing"), 0), os.WriteFile(at("all-hole"), nil, 0o600), os.Truncate(at("all-hole"), 5<<20+1))
	must(t, os.WriteFile(at("odd \xff\n\"name"), []byte("x"), 0o600))
	must(t, os.Link(at("inner/file"), at("empty/second")), os.Link(at("inner/file"), at("aaa-third")))
	must(t, os.Symlink("../nowhere \xfe", at("inner/link")), os.Link(at("inner/link"), at("inner/link-again")))
	must(t, unix.Mknod(at("pipe"), unix.S_IFIFO|0o620, 0), unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	must(t, unix.Mknod(at("char"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod(at("block"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 300))))
	must(t, os.WriteFile(at("setuid"), []byte("#!"), 0o700), os.Lchown(at("setuid"), 999, 1000), unix.Chmod(at("setuid"), 0o6755))
	must(t, os.Lchown(at("inner/link"), 70000, 70001), os.Lchown(at("pipe"), 5, 6), unix.Chmod(at("empty"), 0o3770))
	must(t, unix.Setxattr(at("inner/file"), "user.note", []byte("hello\x00"), 0), unix.Setxattr(at("inner/file"), "user.empty", nil, 0))
	must(t, unix.Lsetxattr(at("inner/link"), "trusted.of-link", []byte("l"), 0), unix.Setxattr(at("pipe"), "trusted.of-pipe", []byte("p"), 0))
	must(t, unix.Setxattr(at("setuid"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(t, unix.Setxattr(at("setuid"), "system.posix_acl_access", []byte(acl), 0))
	must(t, unix.Setxattr(at("inner"), "system.posix_acl_default", []byte(acl), 0), unix.Setxattr(root, "user.root", []byte("r"), 0))
	must(t, os.Lchown(root, 999, 999), unix.Chmod(root, 0o2750))
	deep := root
	for i := range 40 {
		deep = filepath.Join(deep, strings.Repeat("d", 200)+fmt.Sprint(i%10))
		if len(deep) > 3800 {
			break
		}
		must(t, os.Mkdir(deep, 0o700))
	}
	n := int64(0)
	var paths []string
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error { paths = append(paths, path); return err }))
	for _, path := range slices.Backward(paths) {
		n++
		ts := []unix.Timespec{{Sec: 1e9 + n, Nsec: 100 + n}, {Sec: 1.1e9 + n, Nsec: 123456000 + n}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func holes(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	for _, at := range []int64{1 << 20, 9 << 20, 40<<20 + 1} {
		_, err := f.WriteAt(data, at)
		must(t, err)
	}
	must(t, f.Truncate(64<<20), f.Sync(), f.Close())
}

// entry is what can be told of a file, told without the package's own words.
type entry struct {
	Mode, UID, GID uint32
	Rdev           uint64
	Size           int64
	Links          uint64
	Changed        unix.Timespec
	Target         string
	Attributes     map[string]string
	Content        string
	First          string // the first of its names
}

func describe(t *testing.T, root string) map[string]entry {
	t.Helper()
	all, firsts := map[string]entry{}, map[uint64]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		rel, err := filepath.Rel(root, path)
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		e := entry{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: st.Rdev, Changed: st.Mtim, Attributes: attributes(t, path)}
		if !d.IsDir() {
			if firsts[st.Ino] == "" {
				firsts[st.Ino] = rel
			}
			e.Size, e.Links, e.First = st.Size, uint64(st.Nlink), firsts[st.Ino] //nolint:unconvert // it is smaller on other processors
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			e.Target, err = os.Readlink(path)
			must(t, err)
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			must(t, err)
			e.Content = fmt.Sprintf("%x", sum(content))
		}
		all[rel] = e
		return nil
	}))
	return all
}

func sum(content []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range content {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

func attributes(t *testing.T, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	found := map[string]string{}
	for _, name := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		if strings.HasPrefix(name, "trusted.SGI_") {
			continue // xfs's own
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		found[name] = string(value[:n])
	}
	return found
}

func same(t *testing.T, from, to string) {
	t.Helper()
	was, is := describe(t, from), describe(t, to)
	if len(was) < 20 {
		t.Errorf("%d entries were described", len(was))
	}
	if diff := cmp.Diff(was, is); diff != "" {
		t.Errorf("the copy differs (-source +copy):\n%s", diff)
	}
	for _, name := range []string{"sparse", "all-hole"} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(to, name), &st))
		if used := st.Blocks * 512; used > 1<<20 {
			t.Errorf("%s takes %d bytes on disk: its holes were filled", name, used)
		}
	}
}

// Everything that programs can tell apart is in the copy, whatever the two filesystems.
func TestEverythingIsCopied(t *testing.T) {
	for _, c := range [][2]string{{"btrfs", "ext4"}, {"ext4", "btrfs"}, {"btrfs", "xfs"}, {"xfs", "ext4"}, {"ext4", "ext4"}} {
		t.Run(c[0]+" to "+c[1], func(t *testing.T) {
			from, to := filesystem(t, c[0], 320<<20), filesystem(t, c[1], 320<<20)
			furnish(t, from)
			last := filecopy.State{}
			must(t, filecopy.Copy(t.Context(), from, to, func(s filecopy.State) error { last = s; return nil }))
			same(t, from, to)
			if last.Phase != filecopy.Comparing || last.Total < 3<<20 || last.Done < last.Total {
				t.Errorf("at the end it says %+v", last)
			}
		})
	}
}

// A copy that ended anywhere is made whole by the next, whatever the first has left, and whatever else is in the way.
func TestACopyIsMadeAnewAfterAnEndAnywhere(t *testing.T) {
	from, to := filesystem(t, "btrfs", disk), filesystem(t, "ext4", disk)
	furnish(t, from)
	must(t, os.MkdirAll(filepath.Join(to, "inner/file/is a folder"), 0o700), os.WriteFile(filepath.Join(to, "empty"), []byte("is a file"), 0o600))
	must(t, unix.Setxattr(to, "system.posix_acl_default", []byte(acl), 0), unix.Setxattr(to, "user.left", []byte("l"), 0))
	errEnd := errors.New("the process dies")
	ends := 0
	for at := 1; ; at += 9 {
		calls := 0
		err := filecopy.Copy(t.Context(), from, to, func(filecopy.State) error {
			if calls++; calls == at {
				return errEnd
			}
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, errEnd) {
			t.Fatal(err)
		}
		ends++
	}
	if ends < 10 {
		t.Errorf("it ended in %d places only", ends)
	}
	same(t, from, to)
}

// What is cancelled ends.
func TestACancelledCopyEnds(t *testing.T) {
	from, to := filesystem(t, "ext4", disk), filesystem(t, "ext4", disk)
	furnish(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	err := filecopy.Copy(ctx, from, to, func(s filecopy.State) error {
		if s.Phase == filecopy.Copying && s.Done > 0 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Copy = %v; want that it was cancelled", err)
	}
}

// Whatever the target's disk did to the copy is found.
func TestADifferenceIsFound(t *testing.T) {
	from, to := filesystem(t, "btrfs", disk), filesystem(t, "ext4", disk)
	furnish(t, from)
	at := func(name string) string { return filepath.Join(to, name) }
	for name, harm := range map[string]func() error{
		"a byte in the middle": func() error { return poke(at("inner/file"), 2<<20, "y") },
		"a byte in a hole":     func() error { return poke(at("sparse"), 20<<20, "y") },
		"its length":           func() error { return os.Truncate(at("all-hole"), 5<<20) },
		"its mode":             func() error { return unix.Chmod(at("pipe"), 0o644) },
		"its owner":            func() error { return os.Lchown(at("inner/link"), 0, 0) },
		"its time":             func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, at("char"), make([]unix.Timespec, 2), 0) },
		"a link's target": func() error {
			return errors.Join(os.Remove(at("inner/link")), os.Symlink("elsewhere", at("inner/link")))
		},
		"one is missing":  func() error { return os.Remove(at("socket")) },
		"one is too many": func() error { return os.WriteFile(at("more"), nil, 0o600) },
		"another kind": func() error {
			return errors.Join(os.Remove(at("nothing")), unix.Mknod(at("nothing"), unix.S_IFIFO|0o644, 0))
		},
		"another device": func() error {
			return errors.Join(os.Remove(at("block")), unix.Mknod(at("block"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 1))))
		},
		"an attribute":       func() error { return unix.Setxattr(at("inner/file"), "user.note", []byte("bye"), 0) },
		"one attribute more": func() error { return unix.Setxattr(at("setuid"), "user.more", nil, 0) },
		"one attribute less": func() error { return unix.Removexattr(at("inner"), "system.posix_acl_default") },
		"no link any more": func() error {
			content, err := os.ReadFile(at("aaa-third"))
			return errors.Join(err, os.Remove(at("aaa-third")), os.WriteFile(at("aaa-third"), content, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			harmed := false
			err := filecopy.Copy(t.Context(), from, to, func(s filecopy.State) error {
				if s.Phase != filecopy.Comparing || harmed {
					return nil
				}
				harmed = true
				return harm()
			})
			if !errors.Is(err, filecopy.ErrDiffers) {
				t.Errorf("Copy = %v; want that it differs", err)
			}
		})
	}
}

func poke(path string, at int64, what string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(what), at)
	return errors.Join(err, f.Sync(), f.Close())
}

// Nothing is written where it will not fit.
func TestATargetThatIsTooSmallIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	from, to := filesystem(t, "ext4", disk), filesystem(t, "ext4", 20<<20)
	must(t, os.WriteFile(filepath.Join(from, "big"), bytes.Repeat([]byte("x"), 40<<20), 0o600))
	err := filecopy.Copy(t.Context(), from, to, quiet)
	left, errRead := os.ReadDir(to)
	if !errors.Is(err, filecopy.ErrNoSpace) || len(left) > 0 || errRead != nil {
		t.Errorf("Copy = %v, with %v in the target, %v; want that there is no room", err, left, errRead)
	}
}

// What is mounted below the source is not the source's.
func TestAnotherFilesystemBelowIsRefused(t *testing.T) {
	from, to := filesystem(t, "ext4", disk), filesystem(t, "ext4", disk)
	below := filepath.Join(from, "below")
	must(t, os.Mkdir(below, 0o700), unix.Mount("none", below, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(below, 0)) })
	if err := filecopy.Copy(t.Context(), from, to, quiet); err == nil || !strings.Contains(err.Error(), `"below" is another filesystem`) {
		t.Errorf("Copy = %v; want that it names what is mounted there", err)
	}
}
