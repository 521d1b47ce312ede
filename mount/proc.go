// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errNoProcess is what /proc answers for a process that ended after its folder was opened.
var errNoProcess = unix.ESRCH

// openProc opens a folder of /proc, seen from another; the caller closes it.
func openProc(dir int, name string) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

// numbers lists the entries of a folder of /proc that are numbers.
func numbers(dir int) ([]string, error) {
	var found []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return nil, fmt.Errorf("read a folder of /proc: %w", err)
		}
		if n == 0 {
			return found, nil
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if name[0] >= '0' && name[0] <= '9' {
				found = append(found, name)
			}
		}
	}
}

// device tells on what device the thing behind a link of /proc is, without asking a server that may be dead.
func device(dir int, link string) (dev uint64, isDir bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, link, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st); err != nil {
		return 0, false, fmt.Errorf("stat %s: %w", link, err)
	}
	return unix.Mkdev(st.Dev_major, st.Dev_minor), st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// Of linux/kcmp.h.
const (
	kcmpFiles = 2
	kcmpFS    = 3
)

// sharesWithLeader says that a thread has the same descriptors, working folder, root and so mount namespace as the
// leader of its group. A kernel that cannot tell makes every thread be looked at.
func sharesWithLeader(pid, tid int) bool {
	for _, kind := range []uintptr{kcmpFiles, kcmpFS} {
		order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(tid), kind, 0, 0, 0)
		if errno != 0 || order != 0 {
			return false
		}
	}
	return true
}

// procmapQuery is struct procmap_query of linux/fs.h, Linux 6.11.
type procmapQuery struct {
	size, flags, addr       uint64
	start, end, vmaFlags    uint64
	pageSize, offset, inode uint64
	devMajor, devMinor      uint32
	nameSize, buildIDSize   uint32
	nameAddr, buildIDAddr   uint64
}

const (
	ioctlProcmapQuery = 0xc0686611 // _IOWR('f', 17, struct procmap_query)
	queryShared       = 0x08
	queryNext         = 0x10
	queryFileBacked   = 0x20
)

// mappings looks for shared mappings of files: others cannot change data. Linux shows the filesystem's device here,
// not the one that stat tells, so that a hit is looked at again. Kernel threads and the dead have no memory.
func (s *scan) mappings(p process) (memory bool, err error) {
	maps, err := unix.Openat(p.dir, "maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, gone(fmt.Errorf("open maps: %w", err))
	}
	file := os.NewFile(uintptr(maps), "maps")
	defer file.Close()
	query := procmapQuery{flags: queryShared | queryNext | queryFileBacked}
	for {
		query.size = uint64(unsafe.Sizeof(query))
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(maps), ioctlProcmapQuery, uintptr(unsafe.Pointer(&query)))
		switch {
		case errno == unix.ESRCH:
			return false, nil
		case errno == unix.ENOENT: // no more of them
			return true, nil
		case errno == unix.ENOTTY:
			return s.readMappings(p, file)
		case errno != 0:
			return false, fmt.Errorf("query the mappings: %w", errno)
		}
		if unix.Mkdev(query.devMajor, query.devMinor) == s.target.Place.Dev {
			s.mapping(p, fmt.Sprintf("%x-%x", query.start, query.end))
		}
		query.addr, query.nameSize, query.buildIDSize = query.end, 0, 0
	}
}

// readMappings does the same by reading, for older kernels.
func (s *scan) readMappings(p process, maps *os.File) (memory bool, err error) {
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		memory = true
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.HasSuffix(fields[1], "s") {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(fields[3], "%x:%x", &major, &minor); err != nil {
			return memory, fmt.Errorf("mapping %q: %w", lines.Text(), err)
		}
		if unix.Mkdev(major, minor) == s.target.Place.Dev {
			s.mapping(p, fields[0])
		}
	}
	return memory, gone(lines.Err())
}

func (s *scan) mapping(p process, span string) {
	dev, _, err := device(p.dir, "map_files/"+span)
	if err == nil && dev != s.target.Dev || errors.Is(err, os.ErrNotExist) {
		return
	}
	s.found(p, "a shared mapping")
}
