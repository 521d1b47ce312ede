// SPDX-License-Identifier: Apache-2.0

// Package loopdev detaches the loop devices that a node of the development cluster left behind. Loop devices belong
// to the kernel, not to a container: they outlive the node that made them.
package loopdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/mount"
)

// settle bounds the wait for the last user of a device, a mount namespace that is being torn down.
const settle = 5 * time.Second

// Paths of backing files, as the kernel tells them.
const (
	// served begins those of files that a node's processes serve. They lie on no disk, and to ask for the inode of one would
	// take as long as a frozen node is frozen.
	served = "/run/"
	// nowhere is the path of a file whose mount namespace is gone.
	nowhere = "/"
)

// Detach detaches every loop device whose backing file lies below dir, and every one whose file was served by a process that
// died with its mount namespace: nobody can write through it again. It returns their paths.
func Detach(ctx context.Context, dir string) ([]string, error) {
	files, err := inodes(dir)
	if err != nil {
		return nil, err
	}
	loops, err := mount.Loops()
	if err != nil {
		return nil, err
	}
	var detached []string
	for _, l := range loops {
		if strings.HasPrefix(l.File, served) {
			continue
		}
		backing, err := backingOf(l.Device)
		left := errors.Is(err, unix.ENOTCONN)
		if err != nil && !left {
			return detached, err
		}
		if left && l.File != nowhere || !left && !files[backing] {
			continue
		}
		if err := letGo(ctx, l.Device); err != nil {
			return detached, err
		}
		detached = append(detached, l.Device)
	}
	return detached, nil
}

// inode identifies a file across mount namespaces, in which its path differs.
type inode struct{ device, number uint64 }

func inodes(dir string) (map[inode]bool, error) {
	found := map[inode]bool{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			found[inode{stat.Dev, stat.Ino}] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for backing files in %s: %w", dir, err)
	}
	return found, nil
}

// backingOf is the zero inode for a device that is detached.
func backingOf(device string) (inode, error) {
	f, err := os.Open(device)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) {
		return inode{}, nil
	}
	if err != nil {
		return inode{}, fmt.Errorf("open loop device: %w", err)
	}
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	// Closing before the answer is used: an open device cannot be let go by the kernel.
	if closeErr := f.Close(); closeErr != nil {
		return inode{}, fmt.Errorf("close %s: %w", device, closeErr)
	}
	if errors.Is(err, unix.ENXIO) {
		return inode{}, nil
	}
	if err != nil {
		return inode{}, fmt.Errorf("status of %s: %w", device, err)
	}
	return inode{info.Device, info.Inode}, nil
}

// letGo waits until the device is free, because one that is in use lets go only with its last user.
func letGo(ctx context.Context, device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("open loop device: %w", err)
	}
	err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
	if closeErr := f.Close(); closeErr != nil {
		return fmt.Errorf("close %s: %w", device, closeErr)
	}
	if err != nil && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("detach %s: %w", device, err)
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		// Its status cannot be asked for where its file's server is dead.
		_, err := os.Stat(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("detach %s: %w", device, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("detach %s: still in use: %w", device, ctx.Err())
		}
	}
}
