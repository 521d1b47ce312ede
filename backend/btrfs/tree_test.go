// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// object is all that a copy of a file has to have in common with it.
type object struct {
	Mode       uint32 // with the kind
	User       uint32
	Group      uint32
	Device     uint64
	Size       int64
	Modified   unix.Timespec
	Text       string // of a symbolic link
	Hash       string
	Attributes map[string]string
	First      string // the first of its names
	Names      uint64
}

// tree describes everything below a folder, and the folder.
func tree(t *testing.T, root string) map[string]object {
	t.Helper()
	found := map[string]object{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		o := object{
			Mode: st.Mode, User: st.Uid, Group: st.Gid, Device: st.Rdev, Size: st.Size,
			Modified: st.Mtim, First: name, Names: st.Nlink, Attributes: map[string]string{},
		}
		if earlier, ok := first[st.Ino]; ok {
			o.First = earlier
		}
		first[st.Ino] = o.First
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			o.Hash = fmt.Sprintf("%x", sha256.Sum256(data))
		case unix.S_IFLNK:
			if o.Text, err = os.Readlink(path); err != nil {
				return err
			}
		}
		found[name] = o
		return attributesOf(path, o.Attributes)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func attributesOf(path string, to map[string]string) error {
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return err
	}
	value := make([]byte, 1<<16)
	for _, name := range slices.Sorted(strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00")) {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return fmt.Errorf("attribute %q of %q: %w", name, path, err)
		}
		to[name] = string(value[:n])
	}
	return nil
}
