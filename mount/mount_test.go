// SPDX-License-Identifier: Apache-2.0

package mount_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// tmpfs mounts a filesystem of its own for the test; a bind of its folder "head" is what the tests look at.
func tmpfs(t testing.TB) (target mount.Target, head string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	base := filepath.Join(t.TempDir(), "fs")
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting needs CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(base); err != nil {
			t.Error(err)
		}
	})
	head = filepath.Join(base, "head")
	if err := os.Mkdir(head, 0o700); err != nil {
		t.Fatal(err)
	}
	place, err := mount.Locate(head)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(head, &st); err != nil {
		t.Fatal(err)
	}
	return mount.Target{Place: place, Dev: st.Dev}, head
}

func users(t testing.TB, target mount.Target) string {
	t.Helper()
	found, err := mount.Users(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, u := range found {
		all = append(all, u.String())
	}
	return strings.Join(all, "; ")
}

func TestUsersOfAnUnusedTree(t *testing.T) {
	target, _ := tmpfs(t)
	if got := users(t, target); got != "" {
		t.Errorf("Users = %s; want none", got)
	}
}

func TestUsersFindsAnOpenFile(t *testing.T) {
	target, head := tmpfs(t)
	f, err := os.Create(filepath.Join(head, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := users(t, target); !strings.Contains(got, "open file") {
		t.Errorf("Users = %q; want the open file", got)
	}
}

func TestUsersFindsASharedMappingAfterClose(t *testing.T) {
	target, head := tmpfs(t)
	f, err := os.Create(filepath.Join(head, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := users(t, target); !strings.Contains(got, "shared mapping") {
		t.Errorf("Users = %q; want the mapping", got)
	}
	if err := unix.Munmap(data); err != nil {
		t.Fatal(err)
	}
	if got := users(t, target); got != "" {
		t.Errorf("Users after munmap = %q; want none", got)
	}
}

// child runs a shell command that then waits for its standard input to close.
func child(t *testing.T, name string, args ...string) {
	t.Helper()
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := run.Command(context.WithoutCancel(t.Context()), name, args...)
	cmd.Stdin, cmd.Stdout = stdin, told
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hold.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		stdin.Close()
		ready.Close()
	})
	told.Close()
	if _, err := ready.Read(make([]byte, 8)); err != nil {
		t.Fatalf("%s did not get ready: %v", name, err)
	}
}

func TestUsersFindsAWorkingFolder(t *testing.T) {
	target, head := tmpfs(t)
	child(t, "sh", "-c", "cd "+head+" && echo ready && read _ || :")
	if got := users(t, target); !strings.Contains(got, "its cwd") {
		t.Errorf("Users = %q; want the working folder", got)
	}
}

func TestUsersFindsAMountInAnotherNamespace(t *testing.T) {
	target, head := tmpfs(t)
	elsewhere := t.TempDir()
	child(t, "unshare", "--mount", "sh", "-c", "mount --bind "+head+" "+elsewhere+" && echo ready && read _ || :")
	if got := users(t, target); !strings.Contains(got, "a mount at "+elsewhere) {
		t.Errorf("Users = %q; want the mount at %s", got, elsewhere)
	}
}

func TestUsersFindsASourceMountedElsewhere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	elsewhere, source := t.TempDir(), "pool/"+t.Name()
	child(t, "unshare", "--mount", "sh", "-c", "mount -t tmpfs "+source+" "+elsewhere+" && echo ready && read _ || :")
	if got := users(t, mount.Target{Source: source}); !strings.Contains(got, "a mount at "+elsewhere) {
		t.Errorf("Users = %q; want the mount at %s", got, elsewhere)
	}
	if got := users(t, mount.Target{Source: source + "2"}); got != "" {
		t.Errorf("Users of another source = %q; want nobody", got)
	}
}

func TestUnmountTwiceAndWhileInUse(t *testing.T) {
	_, head := tmpfs(t)
	point := filepath.Join(t.TempDir(), "root", "point")
	if err := mount.MakePoint(point); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(point, "file"), nil, 0o600); err == nil {
		t.Log("the filesystem below has no immutable flag: only the mode protects the mount point")
	}
	if err := mount.Bind(head, point); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(point, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Unmount(point); err == nil {
		t.Error("Unmount while a file is open = nil; want ErrBusy")
	}
	if err := mount.RemovePoint(point); err == nil {
		t.Error("RemovePoint of a mounted one = nil; want ErrBusy")
	}
	f.Close()
	for range 2 {
		if err := mount.Unmount(point); err != nil {
			t.Errorf("Unmount = %v; want nil", err)
		}
	}
	for range 2 {
		if err := mount.RemovePoint(point); err != nil {
			t.Errorf("RemovePoint = %v; want nil", err)
		}
	}
}

func BenchmarkUsers(b *testing.B) {
	target, _ := tmpfs(b)
	for b.Loop() {
		users(b, target)
	}
}
