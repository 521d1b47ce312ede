// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Of linux/loop.h and linux/magic.h.
const (
	loopAutoclear = 4
	loopDirectIO  = 16
	loopMajor     = 7
	fuseMagic     = 0x65735546
)

const (
	loopBlock    = 4096 // with it direct I/O works on every disk
	loopAttempts = 64   // bounds the race with others who take free loop devices at the same time
)

// Others open a device for a moment when it appears or changes, to see what is on it.
const (
	loopPassing = 2 * time.Second
	loopAgain   = 2 * time.Millisecond
)

// Loop is a loop device that has a file.
type Loop struct {
	Device string
	File   string // path of the file, as the kernel knows it now
}

// Loops are all loop devices of this kernel that have a file. Neither the devices nor the files are touched.
func Loops() ([]Loop, error) {
	paths, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	loops := make([]Loop, 0, len(paths))
	for _, path := range paths {
		device := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(path)))
		if file := backingFile(device); file != "" {
			loops = append(loops, Loop{device, file})
		}
	}
	return loops, nil
}

// backingFile is the file of a loop device, empty where it has none.
func backingFile(device string) string {
	file, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	if err != nil {
		return "" // an idle loop device has no such entry
	}
	return strings.TrimSuffix(string(file), "\n")
}

// MakeLoop makes a file a block device, which stays until RemoveLoop. tag, of up to 63 bytes, is kept with the device.
func MakeLoop(ctx context.Context, file *os.File, tag string) (device string, err error) {
	config := &unix.LoopConfig{Fd: uint32(file.Fd()), Size: loopBlock}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return "", fmt.Errorf("attach a loop device to %s: %w", file.Name(), err)
	}
	if fs.Type != fuseMagic { // some servers of FUSE files corrupt direct I/O
		config.Info.Flags = loopDirectIO
	}
	copy(config.Info.File_name[:63], tag)
	for range loopAttempts {
		device, err := freeLoop()
		if err != nil {
			return "", fmt.Errorf("attach a loop device to %s: %w", file.Name(), err)
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), config)
		device.Close()
		if err == nil {
			return device.Name(), nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return "", fmt.Errorf("attach %s to %s: %w", device.Name(), file.Name(), err)
		}
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("attach a loop device to %s: %w", file.Name(), err)
		}
	}
	return "", fmt.Errorf("attach a loop device to %s: %d free ones were taken by others first", file.Name(), loopAttempts)
}

// LoopTag is the tag of a loop device. Unlike Loops it may wait for the server of the device's file.
func LoopTag(device string) (string, error) {
	f, err := OpenLoop(device)
	if err != nil {
		return "", fmt.Errorf("tag of %s: %w", device, err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("tag of %s: %w", device, err)
	}
	return unix.ByteSliceToString(info.File_name[:]), nil
}

func freeLoop() (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("loop devices are needed (module loop): %w", err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("find a free loop device: %w", err)
	}
	return OpenLoop("/dev/loop" + strconv.Itoa(n))
}

// OpenLoop opens a loop device, whose node may be missing where /dev is not the kernel's own.
func OpenLoop(path string) (*os.File, error) {
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return device, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(path, "/dev/loop"), 10, 20)
	if err != nil {
		return nil, fmt.Errorf("%s is no loop device: %w", path, err)
	}
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// RemoveLoop takes the file from a loop device and returns once the kernel has let go of it. What others have open is
// ErrBusy and stays as it was.
func RemoveLoop(ctx context.Context, loop Loop) error {
	device, err := OpenLoop(loop.Device)
	if err != nil {
		return fmt.Errorf("detach %s: %w", loop.Device, err)
	}
	// While it is open here, nobody can give it another file. Its status cannot be asked where the file's server is dead.
	if backingFile(loop.Device) != loop.File {
		return device.Close()
	}
	// With others that have it open this only marks the device to go with the last of them.
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		device.Close()
		return fmt.Errorf("detach %s: %w", loop.Device, err)
	}
	if err := device.Close(); err != nil {
		return fmt.Errorf("detach %s: %w", loop.Device, err)
	}
	for deadline := time.Now().Add(loopPassing); backingFile(loop.Device) == loop.File; {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return keepLoop(loop)
		}
		pause(ctx, loopAgain)
	}
	return nil
}

// keepLoop takes back that a device is to go with its last user.
func keepLoop(loop Loop) error {
	device, err := OpenLoop(loop.Device)
	if err != nil {
		return fmt.Errorf("detach %s: %w", loop.Device, err)
	}
	defer device.Close()
	info, err := loopStatus(device, loop)
	if err != nil { // without the file's server it goes when its users do, and is of no use to them
		return fmt.Errorf("detach %s of %s: %w: %w", loop.Device, loop.File, ErrBusy, err)
	}
	if info == nil {
		return nil
	}
	info.Flags &^= loopAutoclear
	if err := unix.IoctlLoopSetStatus64(int(device.Fd()), info); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("keep %s: %w", loop.Device, err)
	}
	return fmt.Errorf("detach %s of %s: %w", loop.Device, loop.File, ErrBusy)
}

// loopStatus is the status of an open loop device, nil if it has the file no more.
func loopStatus(device *os.File, loop Loop) (*unix.LoopInfo64, error) {
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	switch {
	case errors.Is(err, unix.ENXIO) || err == nil && backingFile(loop.Device) != loop.File:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("status of %s: %w", loop.Device, err)
	}
	return info, nil
}

// EnlargeLoop lets a loop device have its file's size of now.
func EnlargeLoop(device string) error {
	f, err := OpenLoop(device)
	if err != nil {
		return fmt.Errorf("enlarge %s: %w", device, err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("enlarge %s: %w", device, err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// BackedBy is an error where an open loop device has another file than that.
func BackedBy(device, file *os.File) error {
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if err != nil {
		return fmt.Errorf("status of %s: %w", device.Name(), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", file.Name(), err)
	}
	if info.Inode != st.Ino { // device numbers differ on filesystems with subvolumes or layers
		return fmt.Errorf("%s has another file than %s: inode %d, not %d", device.Name(), file.Name(), info.Inode, st.Ino)
	}
	return nil
}

// CutLoop lets a loop device of which the file has that size end where it begins: whoever has it mounted or open can
// change nothing of the file once it returns.
func CutLoop(device string, size int64) error {
	f, err := OpenLoop(device)
	if err != nil {
		return fmt.Errorf("cut %s: %w", device, err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return fmt.Errorf("cut %s: %w", device, err)
	}
	info.Offset = uint64(size)
	if err := unix.IoctlLoopSetStatus64(int(f.Fd()), info); err != nil {
		return fmt.Errorf("cut %s: %w", device, err)
	}
	return nil
}
