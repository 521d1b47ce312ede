// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Entry is one line of a mount table.
type Entry struct {
	ID     int
	Dev    uint64 // device number of the filesystem, which on btrfs is not what stat tells of a file
	Root   string // the folder inside the filesystem that is mounted
	Point  string
	Type   string
	Source string
}

// Table is the mount table of this process's mount namespace; mounts of later come later.
func Table() ([]Entry, error) { return tableOf("/proc/self/mountinfo") }

// TableOf is the mount table of a process.
func TableOf(pid int) ([]Entry, error) { return tableOf(fmt.Sprintf("/proc/%d/mountinfo", pid)) }

func tableOf(file string) ([]Entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("mount table: %w", err)
	}
	defer f.Close()
	infos, err := mountinfo.GetMountsFromReader(f, nil)
	if err != nil {
		return nil, fmt.Errorf("mount table %s: %w", file, err)
	}
	entries := make([]Entry, len(infos))
	for i, m := range infos {
		entries[i] = Entry{
			ID: m.ID, Dev: unix.Mkdev(uint32(m.Major), uint32(m.Minor)),
			Root: m.Root, Point: m.Mountpoint, Type: m.FSType, Source: m.Source,
		}
	}
	return entries, nil
}

// Mounted says whether something is mounted exactly on path.
func Mounted(path string) (bool, error) {
	entries, err := Table()
	if err != nil {
		return false, err
	}
	_, on := At(entries, path)
	return on, nil
}

// At finds what is mounted on path: the last one, which covers those before it.
func At(entries []Entry, path string) (Entry, bool) {
	for _, e := range slices.Backward(entries) {
		if e.Point == path {
			return e, true
		}
	}
	return Entry{}, false
}

// Place is a folder as its filesystem knows it, whatever it is mounted on.
type Place struct {
	Dev    uint64 // device number of the filesystem, as in Entry
	Root   string // the folder's path inside the filesystem
	Source string
}

// Locate finds the place of a folder.
func Locate(dir string) (Place, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &st); err != nil {
		return Place{}, fmt.Errorf("locate %s: %w", dir, err)
	}
	entries, err := Table()
	if err != nil {
		return Place{}, err
	}
	for _, e := range entries {
		if e.ID != int(st.Mnt_id) {
			continue
		}
		below, under := strings.CutPrefix(dir, strings.TrimSuffix(e.Point, "/"))
		if !under {
			break
		}
		return Place{Dev: e.Dev, Root: strings.TrimSuffix(e.Root, "/") + below, Source: e.Source}, nil
	}
	return Place{}, fmt.Errorf("locate %s: no mount of this namespace holds it", dir)
}

// Shows says whether the mount e gives access to place or to something below it, and to nothing above it.
func (e Entry) Shows(place Place) bool {
	return e.Dev == place.Dev && (e.Root == place.Root || strings.HasPrefix(e.Root, place.Root+"/"))
}
