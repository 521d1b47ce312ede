// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
)

const withoutChecksums = 0x00800000 // FS_NOCOW_FL, what chattr +C sets

// TestAFileWithoutChecksumsComesBack: the stream does not carry chattr +C. On the way back it therefore asks for blocks
// to be shared that the kernel does not let a file with checksums and one without them share.
func TestAFileWithoutChecksumsComesBack(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	id := fresh(t, a, b)
	random := newContent(1, a.data(id))
	err := with(filepath.Join(a.data(id), "database"), os.O_CREATE|os.O_RDWR, func(f *os.File) error {
		_, err := f.Write(nil)
		err = errors.Join(err, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, withoutChecksums))
		_, writeErr := f.Write(random.data(1<<20 + 100))
		return errors.Join(err, writeErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	first := a.snapshot(t, id, 1)
	b.takes(t, id, first, "", a.stream(t, id, first, ""))
	err = errors.Join(
		b.driver.Clone(t.Context(), id, first.Name, backend.Spec{Dataset: id, Epoch: 1}, ""),
		b.driver.Mount(t.Context(), id, b.Path(id)),
		with(filepath.Join(b.data(id), "database"), os.O_RDWR, func(from *os.File) error {
			return with(filepath.Join(b.data(id), "backup"), os.O_CREATE|os.O_RDWR, func(to *os.File) error {
				_, err := from.WriteAt([]byte("later"), 500_000)
				return errors.Join(err, unix.IoctlFileClone(int(to.Fd()), int(from.Fd())))
			})
		}))
	if err != nil {
		t.Fatal(err)
	}
	second := b.snapshot(t, id, 2)
	back := a.takes(t, id, second, first.Name, b.stream(t, id, second, first.Name))
	equal(t, "sent back", tree(t, b.inPool("datasets", string(id), second.Name)), tree(t, back))
}
