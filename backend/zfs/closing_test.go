// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// TestAFilesystemEndsOnlyWhenItsDaemonKnowsOfEveryClosedFile is what the end of a database looks like. Files are closed in the background, and
// only after what the kernel reads ahead of them, so that many are under way when the mount goes. A zfs-fuse that does not hear of them all answers
// nobody any more.
func TestAFilesystemEndsOnlyWhenItsDaemonKnowsOfEveryClosedFile(t *testing.T) {
	h := newPool(t, 256<<20)
	if h.ofKernel(t) {
		t.Skip("ZFS is in the kernel, and has no daemon")
	}
	mustAll(t, h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 5 {
		mustAll(t, h.driver.Mount(ctx, dataset, h.Path(dataset)))
		var st unix.Stat_t
		mustAll(t, unix.Stat(h.Path(dataset), &st))
		anchor, err := mount.NewAnchor(h.Path(dataset), st.Dev)
		mustAll(t, err)
		for _, f := range h.openMany(t, 200) {
			mustAll(t, f.Close())
		}
		mustAll(t, mount.Unmount(h.Path(dataset)), anchor.Quiet(ctx), anchor.Close())
	}
	mustAll(t, h.driver.Destroy(ctx, dataset))
}

// openMany opens files and begins to read them.
func (h *harness) openMany(t *testing.T, count int) (files []*os.File) {
	t.Helper()
	for i := range count {
		f, err := os.OpenFile(filepath.Join(h.data(dataset), fmt.Sprint(i)), os.O_RDWR|os.O_CREATE, 0o600)
		mustAll(t, err)
		if info, err := f.Stat(); err != nil || info.Size() == 0 {
			_, err = f.Write(bytes.Repeat([]byte("flocker\n"), 8<<10))
			mustAll(t, err)
		}
		files = append(files, f)
	}
	for _, f := range files {
		_, err := f.ReadAt(make([]byte, 4096), 0)
		mustAll(t, err)
	}
	return files
}

// ofKernel says that the filesystems are not served by zfs-fuse.
func (h *harness) ofKernel(t *testing.T) bool {
	t.Helper()
	_, err := os.Stat("/dev/zfs")
	return err == nil
}
