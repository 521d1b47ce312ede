// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
)

// subvolumeInode is the inode number of every subvolume's root.
const subvolumeInode = 256

// openDir opens a folder for ioctls; the caller closes it.
func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, sentinel(err))
	}
	return fd, nil
}

// within opens the folder, calls f and closes it again.
func within(path string, f func(fd int) error) error {
	fd, err := openDir(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

func subvolumeInfo(path string) (*subvolInfo, error) {
	info := new(subvolInfo)
	return info, within(path, func(fd int) error {
		if err := ioctl(fd, iocSubvolInfo, info); err != nil {
			return fmt.Errorf("information of subvolume %s: %w", path, err)
		}
		return nil
	})
}

// isSubvolume says whether path is a subvolume's root. An absent one is none.
func isSubvolume(path string) (bool, error) {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Ino == subvolumeInode && st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func createSubvolume(path string) error {
	args := new(volArgsV2)
	copy(args.name[:], filepath.Base(path))
	return within(filepath.Dir(path), func(parent int) error {
		if err := ioctl(parent, iocSubvolCreate, args); err != nil {
			return fmt.Errorf("create subvolume %s: %w", path, sentinel(err))
		}
		return nil
	})
}

// snapshotSubvolume makes path a snapshot of source. It first writes out what is dirty in source, in this subvolume
// alone, and returns when the snapshot is durable.
func snapshotSubvolume(source, path string, readOnly bool) error {
	args := new(volArgsV2)
	copy(args.name[:], filepath.Base(path))
	if readOnly {
		args.flags = flagReadOnly
	}
	return within(source, func(from int) error {
		args.fd = int64(from)
		return within(filepath.Dir(path), func(parent int) error {
			if err := ioctl(parent, iocSnapCreate, args); err != nil {
				return fmt.Errorf("make %s a snapshot of %s: %w", path, source, sentinel(err))
			}
			return nil
		})
	})
}

// deleteSubvolume removes a subvolume and those inside it; absent is success.
func deleteSubvolume(ctx context.Context, path string) error {
	args := new(volArgs)
	copy(args.name[:], filepath.Base(path))
	destroy := func() error {
		return within(filepath.Dir(path), func(parent int) error { return ioctl(parent, iocSnapDestroy, args) })
	}
	err := destroy()
	if errors.Is(err, unix.ENOTEMPTY) {
		if err := deleteNested(ctx, path); err != nil {
			return err
		}
		err = destroy()
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, backend.ErrNotFound):
		return nil
	case errors.Is(err, unix.EPERM): // being sent
		return fmt.Errorf("delete subvolume %s: %w: it is being sent", path, backend.ErrBusy)
	}
	return fmt.Errorf("delete subvolume %s: %w", path, sentinel(err))
}

func deleteNested(ctx context.Context, path string) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		nested, err := nestedSubvolumes(path)
		if err != nil || len(nested) == 0 {
			return err
		}
		for _, n := range nested {
			if err := deleteSubvolume(ctx, filepath.Join(path, n)); err != nil {
				return err
			}
		}
	}
}

// nestedSubvolumes are the subvolumes directly inside one, by their paths in it; a snapshot does not hold them.
func nestedSubvolumes(path string) ([]string, error) {
	var found []string
	return found, within(path, func(fd int) error {
		refs := new(rootRefs)
		if err := ioctl(fd, iocRootRefs, refs); err != nil && !errors.Is(err, unix.EOVERFLOW) {
			return fmt.Errorf("subvolumes inside %s: %w", path, err)
		}
		for _, ref := range refs.refs[:refs.items] {
			dir := &inoLookup{objectID: ref.dirID}
			if err := ioctl(fd, iocInoLookup, dir); err != nil {
				return fmt.Errorf("subvolumes inside %s: look up folder %d: %w", path, ref.dirID, err)
			}
			entries, err := os.ReadDir(filepath.Join(path, unix.ByteSliceToString(dir.name[:])))
			if err != nil {
				return fmt.Errorf("subvolumes inside %s: %w", path, err)
			}
			for _, e := range entries {
				inside := filepath.Join(unix.ByteSliceToString(dir.name[:]), e.Name())
				is, err := isSubvolume(filepath.Join(path, inside))
				if err != nil {
					return err
				}
				if is && e.IsDir() {
					found = append(found, inside)
				}
			}
		}
		return nil
	})
}

// commit makes what was changed in the filesystem's folders durable.
func commit(path string) error {
	return within(path, func(fd int) error {
		var transid uint64
		if err := ioctl(fd, iocStartSync, &transid); err != nil {
			return fmt.Errorf("commit %s: %w", path, sentinel(err))
		}
		if err := ioctl(fd, iocWaitSync, &transid); err != nil {
			return fmt.Errorf("wait for the commit of %s: %w", path, sentinel(err))
		}
		return nil
	})
}

// sentinel gives the kernel's errors the contract's names.
func sentinel(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %w", backend.ErrNotFound, err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", backend.ErrExists, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ETXTBSY):
		return fmt.Errorf("%w: %w", backend.ErrBusy, err)
	}
	return err
}

// filesystemID is the UUID by which the kernel names the filesystem in /sys/fs/btrfs.
func filesystemID(path string) (string, error) {
	var info fsInfo
	err := within(path, func(fd int) error { return ioctl(fd, iocFsInfo, &info) })
	if err != nil {
		return "", fmt.Errorf("identify the filesystem of %s: %w", path, err)
	}
	return info.fsid.String(), nil
}
