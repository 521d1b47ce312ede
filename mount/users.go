// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Target is a folder tree whose users are looked for.
type Target struct {
	Place Place
	// Dev is the device number that stat tells of the files in it. Where it is 0, only mounts are looked for.
	Dev uint64
	// Source, where it is given, counts wherever it is mounted: for filesystems that get another device number with
	// each mount.
	Source string
}

// User is a process that can reach the target, or could again without opening anything anew.
type User struct {
	PID  int
	Name string // the program's
	How  string // "a mount at /data", "an open file", ...
	// Elsewhere says that it is only a mount in another mount namespace. A process that starts a container has copies
	// of all mounts for a moment.
	Elsewhere bool
}

func (u User) String() string { return fmt.Sprintf("%s (pid %d, %s)", u.Name, u.PID, u.How) }

// Users finds every process that has the target mounted in its mount namespace, or holds a descriptor, a shared
// mapping, its working folder or its root in it. Folders that this process itself and its children have open do
// not count: they are transient and write nothing. A process that cannot be examined is an error.
func Users(ctx context.Context, target Target) ([]User, error) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("mount namespace: %w", err)
	}
	s := &scan{target: target, self: os.Getpid(), namespace: own, namespaces: map[string]bool{}}
	seen := map[string]bool{}
	// A process listed may have handed a descriptor to a child not listed, and ended: look at newcomers too.
	for range scanRounds {
		pids, err := processes()
		if err != nil {
			return nil, err
		}
		fresh := slices.DeleteFunc(pids, func(pid string) bool { return seen[pid] })
		if len(fresh) == 0 {
			break
		}
		if err := s.processes(ctx, fresh); err != nil {
			return nil, err
		}
		for _, pid := range fresh {
			seen[pid] = true
		}
	}
	return s.users, nil
}

func processes() ([]string, error) {
	proc, err := openProc(unix.AT_FDCWD, "/proc")
	if err != nil {
		return nil, err
	}
	defer unix.Close(proc)
	return numbers(proc)
}

// scanRounds bounds the search where processes come faster than they are looked at.
const scanRounds = 5

// scan is one search over all processes.
type scan struct {
	target Target
	self   int
	// namespace is this process's own mount namespace.
	namespace string

	mu         sync.Mutex
	namespaces map[string]bool // mount namespaces already looked at
	users      []User
}

// process is one process, or one of its threads, with its folder in /proc open.
type process struct {
	pid int
	dir int
}

func (s *scan) found(p process, how string) { s.add(p, User{How: how}) }

func (s *scan) add(p process, u User) {
	u.PID, u.Name = p.pid, "?" // gone meanwhile; it was there
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid)); err == nil {
		u.Name = strings.TrimSpace(string(comm))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = append(s.users, u)
}

func (s *scan) processes(ctx context.Context, pids []string) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), 4) {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(pids) || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := s.process(pids[i]); err != nil {
					return fmt.Errorf("look for users in process %s: %w", pids[i], err)
				}
			}
		})
	}
	return group.Wait()
}

// process looks at one process. Init may have capabilities that this process lacks and then cannot be looked into;
// it keeps nobody's files open, and its mount table is public.
func (s *scan) process(name string) error {
	pid, err := strconv.Atoi(name)
	if err != nil {
		return nil // no process
	}
	dir, err := openProc(unix.AT_FDCWD, "/proc/"+name)
	if err != nil {
		return gone(err)
	}
	defer unix.Close(dir)
	p := process{pid, dir}
	err = s.group(p)
	if pid == 1 && errors.Is(err, os.ErrPermission) {
		return s.mountsIn("of init", p)
	}
	return err
}

// group looks at a thread group: the leader, and those threads that do not share its descriptors or root.
func (s *scan) group(p process) error {
	memory, err := s.mappings(p)
	if err != nil {
		return err
	}
	if memory {
		if err := s.task(p); err != nil {
			return err
		}
	}
	tasks, err := openProc(p.dir, "task")
	if err != nil {
		return gone(err)
	}
	defer unix.Close(tasks)
	threads, err := numbers(tasks)
	if err != nil {
		return gone(err)
	}
	for _, name := range threads {
		tid, err := strconv.Atoi(name)
		if err != nil || tid == p.pid || sharesWithLeader(p.pid, tid) {
			continue
		}
		if err := s.thread(p.pid, tasks, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) thread(pid, tasks int, name string) error {
	dir, err := openProc(tasks, name)
	if err != nil {
		return gone(err)
	}
	defer unix.Close(dir)
	return s.task(process{pid, dir})
}

func (s *scan) task(p process) error {
	if err := s.mounts(p); err != nil || s.target.Dev == 0 {
		return err
	}
	for _, link := range []string{"cwd", "root"} {
		dev, _, err := device(p.dir, link)
		if err := gone(err); err != nil {
			return err
		}
		if err == nil && dev == s.target.Dev {
			s.found(p, "its "+link)
		}
	}
	return s.descriptors(p)
}

func (s *scan) mounts(p process) error {
	var namespace [64]byte
	n, err := unix.Readlinkat(p.dir, "ns/mnt", namespace[:])
	if err != nil {
		return gone(fmt.Errorf("mount namespace: %w", err))
	}
	return s.mountsIn(string(namespace[:n]), p)
}

func (s *scan) mountsIn(namespace string, p process) error {
	if s.looked(namespace, false) {
		return nil
	}
	entries, err := tableOf(fmt.Sprintf("/proc/self/fd/%d/mountinfo", p.dir))
	if errors.Is(err, unix.EINVAL) { // it is ending, and has no namespace any more
		return nil
	}
	if err != nil {
		return gone(err) // another process in the namespace has to show it
	}
	if s.looked(namespace, true) {
		return nil
	}
	for _, e := range entries {
		if e.Shows(s.target.Place) || s.target.Source != "" && e.Source == s.target.Source {
			s.add(p, User{How: "a mount at " + e.Point, Elsewhere: namespace != s.namespace})
		}
	}
	return nil
}

// looked says whether the namespace was looked at, and may note that it is now.
func (s *scan) looked(namespace string, note bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.namespaces[namespace]
	s.namespaces[namespace] = before || note
	return before
}

func (s *scan) descriptors(p process) error {
	fds, err := openProc(p.dir, "fd")
	if err != nil {
		return gone(err)
	}
	defer unix.Close(fds)
	open, err := numbers(fds)
	if err != nil {
		return gone(err)
	}
	for _, n := range open {
		dev, isDir, err := device(fds, n)
		if err != nil {
			if err := gone(err); err != nil {
				return err
			}
			continue
		}
		if dev != s.target.Dev || isDir && s.ours(p.pid) {
			continue
		}
		s.found(p, "an open file")
		return nil
	}
	return nil
}

// ours tells this process and its children, which hold copies of its descriptors between fork and exec.
func (s *scan) ours(pid int) bool {
	if pid == s.self {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true // gone
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	return len(fields) > 1 && fields[1] == strconv.Itoa(s.self)
}

// gone forgives that a process ended while it was looked at.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoProcess) {
		return nil
	}
	return err
}
