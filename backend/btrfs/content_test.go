// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// content makes random changes below a folder, the same ones for the same seed.
type content struct {
	*rand.Rand
	root string
}

func newContent(seed uint64, root string) *content {
	return &content{Rand: rand.New(rand.NewPCG(seed, seed)), root: root}
}

// names are few, so that a name is often taken, freed and taken again by something else.
var names = []string{
	"a", "b", "c", "d", "e", "f", "g", "-rf", "with space", "new\nline", "\xff\xfe\x80", "ü", ".hidden", "o257-6-0",
	strings.Repeat("n", 255),
}

// change makes some changes. One that does not fit what is there is none.
func (c *content) change(t *testing.T, count int) {
	t.Helper()
	kinds := []func() error{
		c.makeFile, c.makeFile, c.makeFile, c.makeDir, c.makeDir, c.makeLink, c.makeNode,
		c.write, c.write, c.write, c.truncate, c.punch, c.share, c.share,
		c.move, c.move, c.move, c.swap, c.swap, c.link, c.link, c.remove, c.removeTree, c.replace, c.replace,
		c.mode, c.owner, c.owner, c.times, c.attribute, c.attribute, c.attribute, c.noAttribute, c.list, c.compress,
	}
	for range count {
		n := c.IntN(len(kinds))
		if err := kinds[n](); err != nil && !doesNotFit(err) {
			t.Fatalf("change of kind %d: %v", n, err)
		}
	}
}

func doesNotFit(err error) bool {
	for _, known := range []error{
		unix.EEXIST, unix.ENOENT, unix.ENOTEMPTY, unix.EISDIR, unix.ENOTDIR, unix.EINVAL, unix.EPERM, unix.EOPNOTSUPP, unix.ENODATA,
		unix.ENAMETOOLONG, unix.ELOOP, unix.EBUSY, unix.EMLINK, unix.EACCES,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// pick is a path of one of the kinds that are there, none for any; folders include the root.
func (c *content) pick(kinds ...fs.FileMode) string {
	var found []string
	// A tree that is changed by nobody else can be walked.
	_ = filepath.WalkDir(c.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fits := len(kinds) == 0 && path != c.root
		for _, kind := range kinds {
			fits = fits || entry.Type() == kind
		}
		if fits {
			found = append(found, path)
		}
		return nil
	})
	if len(found) == 0 {
		return filepath.Join(c.root, "absent")
	}
	return found[c.IntN(len(found))]
}

const regular fs.FileMode = 0

// fresh is a path that may be taken, in any folder that is not too deep.
func (c *content) fresh() string {
	dir := c.pick(fs.ModeDir)
	if strings.Count(dir, "/")-strings.Count(c.root, "/") > 5 {
		dir = c.root
	}
	return filepath.Join(dir, names[c.IntN(len(names))])
}

// size favours files small enough to be inside the metadata, and those of several blocks.
func (c *content) size() int64 {
	return []int64{0, 1 + c.Int64N(1500), c.Int64N(20_000), c.Int64N(300_000)}[c.IntN(4)]
}

func (c *content) data(size int64) []byte {
	data := make([]byte, size)
	step := 1 + c.IntN(7)
	for i := range data {
		data[i] = byte(i*step + i>>8)
	}
	for range 10 {
		if size > 0 {
			data[c.Int64N(size)] = byte(c.Uint32())
		}
	}
	return data
}

func with(path string, flags int, f func(file *os.File) error) error {
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f(file), file.Close())
}

func (c *content) makeFile() error {
	return with(c.fresh(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, func(f *os.File) error {
		_, err := f.Write(c.data(c.size()))
		return err
	})
}

func (c *content) makeDir() error { return os.Mkdir(c.fresh(), 0o755) }

func (c *content) makeLink() error {
	to := []string{"..", "/etc/passwd", "nowhere", "a", "/", "../../../..", strings.Repeat("x/", 700), c.pick()}
	return os.Symlink(to[c.IntN(len(to))], c.fresh())
}

func (c *content) makeNode() error {
	kind := []uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK}[c.IntN(4)]
	device := []uint64{unix.Mkdev(1, 3), unix.Mkdev(8, 300), unix.Mkdev(4095, 1<<20-1), unix.Mkdev(259, 70_000)}[c.IntN(4)]
	return unix.Mknod(c.fresh(), kind|0o640, int(device))
}

// write overwrites, appends, or leaves a hole before what it writes; some of it reaches the disk before the rest.
func (c *content) write() error {
	return with(c.pick(regular), os.O_WRONLY, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		at := []int64{0, c.Int64N(info.Size() + 1), info.Size(), info.Size() + c.Int64N(100_000)}[c.IntN(4)]
		_, err = f.WriteAt(c.data(c.size()), at)
		if c.IntN(4) == 0 {
			err = errors.Join(err, f.Sync())
		}
		return err
	})
}

func (c *content) truncate() error {
	path := c.pick(regular)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, []int64{0, c.Int64N(info.Size() + 1), info.Size() + c.Int64N(200_000)}[c.IntN(3)])
}

func (c *content) punch() error {
	mode := []uint32{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_KEEP_SIZE, 0, unix.FALLOC_FL_ZERO_RANGE}[c.IntN(4)]
	return with(c.pick(regular), os.O_WRONLY, func(f *os.File) error {
		return unix.Fallocate(int(f.Fd()), mode, c.Int64N(100_000), 1+c.Int64N(100_000))
	})
}

// share lets two files, or two places of one, have the same blocks.
func (c *content) share() error {
	return with(c.pick(regular), os.O_RDONLY, func(from *os.File) error {
		return with(c.pick(regular), os.O_WRONLY, func(to *os.File) error {
			info, err := from.Stat()
			if err != nil || c.IntN(3) == 0 {
				return errors.Join(err, unix.IoctlFileClone(int(to.Fd()), int(from.Fd())))
			}
			blocks := uint64(info.Size()) / 4096
			if blocks == 0 {
				return nil
			}
			first := c.Uint64N(blocks)
			return unix.IoctlFileCloneRange(int(to.Fd()), &unix.FileCloneRange{
				Src_fd: int64(from.Fd()), Src_offset: first * 4096, Src_length: (1 + c.Uint64N(blocks-first)) * 4096,
				Dest_offset: c.Uint64N(20) * 4096,
			})
		})
	})
}

func (c *content) move() error { return unix.Rename(c.pick(), c.fresh()) }

func (c *content) swap() error {
	return unix.Renameat2(unix.AT_FDCWD, c.pick(), unix.AT_FDCWD, c.pick(), unix.RENAME_EXCHANGE)
}

func (c *content) link() error {
	kinds := []fs.FileMode{regular, regular, fs.ModeSymlink, fs.ModeNamedPipe}
	return unix.Linkat(unix.AT_FDCWD, c.pick(kinds[c.IntN(len(kinds))]), unix.AT_FDCWD, c.fresh(), 0)
}

func (c *content) remove() error { return os.Remove(c.pick()) }

// removeTree is rare, so that something is left.
func (c *content) removeTree() error {
	if c.IntN(5) > 0 {
		return c.remove()
	}
	return os.RemoveAll(c.pick())
}

// replace puts something else where a name was.
func (c *content) replace() error {
	path := c.pick()
	if err := os.Remove(path); err != nil {
		return err
	}
	switch c.IntN(4) {
	case 0:
		return os.Mkdir(path, 0o700)
	case 1:
		return os.Symlink("instead", path)
	case 2:
		return unix.Rename(c.pick(regular), path)
	}
	return os.WriteFile(path, c.data(c.size()), 0o600)
}

// mode does not follow symbolic links, which have none.
func (c *content) mode() error {
	path := c.pick(regular, fs.ModeDir, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice, fs.ModeDevice|fs.ModeCharDevice)
	return unix.Chmod(path, c.Uint32N(0o10000))
}

// owner drops setuid, setgid and capabilities from a file; half the time the mode is given back to it.
func (c *content) owner() error {
	path := c.pick()
	var st unix.Stat_t
	err := errors.Join(unix.Lstat(path, &st), os.Lchown(path, c.IntN(70_000), c.IntN(70_000)))
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && c.IntN(2) == 0 {
		err = errors.Join(err, unix.Chmod(path, st.Mode&0o7777))
	}
	return err
}

func (c *content) times() error {
	at := func() unix.Timespec { return unix.Timespec{Sec: c.Int64N(1<<33) - 1<<31, Nsec: c.Int64N(1e9)} }
	return unix.UtimesNanoAt(unix.AT_FDCWD, c.pick(), []unix.Timespec{at(), at()}, unix.AT_SYMLINK_NOFOLLOW)
}

// attributes are those that changes set and remove.
var attributes = []string{"user.one", "user.two", "trusted.three", "trusted." + strings.Repeat("l", 200), capability, capability}

const capability = "security.capability"

func (c *content) attribute() error {
	name := attributes[c.IntN(len(attributes))]
	value := c.data(c.Int64N(3000))
	if name == capability {
		value = binary.LittleEndian.AppendUint32(nil, 0x02000001) // VFS_CAP_REVISION_2, effective
		value = binary.LittleEndian.AppendUint32(value, c.Uint32N(1<<20))
		value = append(value, make([]byte, 12)...)
	}
	return unix.Lsetxattr(c.pick([]fs.FileMode{regular, fs.ModeDir, fs.ModeSymlink}...), name, value, 0)
}

func (c *content) noAttribute() error {
	return unix.Lremovexattr(c.pick(), attributes[c.IntN(len(attributes))])
}

// list sets a POSIX access list, which what is made in a folder may inherit.
func (c *content) list() error {
	value := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag uint16
		id  uint32
	}{{1, ^uint32(0)}, {2, c.Uint32N(9000)}, {4, ^uint32(0)}, {16, ^uint32(0)}, {32, ^uint32(0)}} {
		value = binary.LittleEndian.AppendUint16(value, e.tag)
		value = binary.LittleEndian.AppendUint16(value, uint16(c.Uint32N(8)))
		value = binary.LittleEndian.AppendUint32(value, e.id)
	}
	name := fmt.Sprintf("system.posix_acl_%s", []string{"access", "default"}[c.IntN(2)])
	return unix.Lsetxattr(c.pick(regular, fs.ModeDir), name, value, 0)
}

func (c *content) compress() error {
	return unix.Lsetxattr(c.pick(regular, fs.ModeDir), "btrfs.compression", []byte("zstd"), 0)
}
