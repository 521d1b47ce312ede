// SPDX-License-Identifier: Apache-2.0

package all

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/backend/external"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/backend/zfs"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// The oldest kernels that have what is used.
const (
	kernelOfBtrfs    = "5.6" // openat2
	kernelOfLoopback = "5.8" // LOOP_CONFIGURE
	kernelOfBlock    = "5.2" // fsopen
)

// Reached is the check of whether a back end's store answers: reached says why not.
func Reached(name, kind, problem string) api.Check {
	c := api.Check{Name: "store", Object: name, OK: problem == "", Found: "it answers"}
	if problem != "" {
		c.Found, c.Problem = "", problem
		c.Remedy = fmt.Sprintf("see what the message says; docs/backends/%s.md explains it", kind)
	}
	return c
}

func needsOfBtrfs(_ context.Context, options func(any) error) []api.Check {
	var o btrfsOptions
	checks := []api.Check{kernelCheck(kernelOfBtrfs), moduleCheck("btrfs"), rootCheck()}
	if err := options(&o); err != nil {
		return append(checks, optionsCheck(err))
	}
	if o.Path == "" { // the pool is in a file
		checks = append(checks, programCheck("mkfs.btrfs", "btrfs-progs"), moduleCheck("loop"))
	}
	return append(checks, profileChecks(o.Profiles, btrfs.ProfileOptions())...)
}

func needsOfLoopback(_ context.Context, options func(any) error) []api.Check {
	var o loopbackOptions
	checks := []api.Check{kernelCheck(kernelOfLoopback), moduleCheck("loop"), rootCheck()}
	if err := options(&o); err != nil {
		return append(checks, optionsCheck(err))
	}
	return append(checks, volumeChecks(o.Filesystem, o.Profiles, block.ProfileOptions())...)
}

func needsOfExternal(ctx context.Context, options func(any) error) []api.Check {
	var o externalOptions
	checks := []api.Check{kernelCheck(kernelOfBlock), rootCheck()}
	if err := options(&o); err != nil {
		return append(checks, optionsCheck(err))
	}
	driver := api.Check{Name: "driver", Object: o.Socket}
	g, err := external.Greet(ctx, external.Config{Socket: o.Socket})
	if err != nil {
		driver.Problem, driver.Remedy = err.Error(), "start the driver, with the same socket as in agent.yml"
	} else {
		driver.OK, driver.Found = true, fmt.Sprintf("%s, machine %s, abilities %v", g.Driver, g.Machine, g.Abilities)
		if len(g.Profiles) > 0 {
			driver.Found += fmt.Sprintf(", profiles %v", g.Profiles)
		}
	}
	return append(append(checks, driver), volumeChecks(o.Filesystem, o.Profiles, block.ProfileOptions())...)
}

func needsOfMem(_ context.Context, options func(any) error) []api.Check {
	var o memOptions
	if err := options(&o); err != nil {
		return []api.Check{optionsCheck(err)}
	}
	return profileChecks(o.Profiles, nil)
}

func needsOfNBD(ctx context.Context, options func(any) error) []api.Check {
	var o blockStore
	checks := userDeviceChecks(ctx)
	if err := options(&o); err != nil {
		return append(checks, optionsCheck(err))
	}
	return append(checks, volumeChecks(o.Filesystem, o.Profiles, block.ProfileOptions())...)
}

func needsOfRBD(ctx context.Context, options func(any) error) []api.Check {
	var o pool
	checks := append(userDeviceChecks(ctx), programCheck("rbd", "ceph-common"), programCheck("ceph", "ceph-common"))
	if err := options(&o); err != nil {
		return append(checks, optionsCheck(err))
	}
	return append(checks, volumeChecks(o.Filesystem, o.Profiles, profilesOfRBD())...)
}

// userDeviceChecks are of what makes block devices of volumes that the kernel has no client for.
func userDeviceChecks(ctx context.Context) []api.Check {
	checks := []api.Check{kernelCheck(kernelOfLoopback), moduleCheck("loop"), moduleCheck("fuse"), rootCheck()}
	server := api.Check{Name: "program", Object: userdev.Program}
	found, err := userdev.Check(ctx)
	if err != nil {
		server.Problem, server.Remedy = err.Error(), "apt install "+userdev.Packages
	} else {
		server.OK, server.Found = true, found
	}
	return append(checks, server)
}

func needsOfZFS(_ context.Context, options func(any) error) []api.Check {
	var o zfsOptions
	const from = "zfsutils-linux (or zfs-fuse, which needs nothing of the kernel)"
	checks := []api.Check{rootCheck(), programCheck("zfs", from), programCheck("zpool", from)}
	if err := options(&o); err != nil {
		return append(checks, optionsCheck(err))
	}
	return append(checks, profileChecks(o.Profiles, zfs.ProfileOptions())...)
}

func optionsCheck(err error) api.Check {
	return api.Check{Name: "options", Object: "agent.yml", Problem: err.Error(), Remedy: "mend \"dataset\" in agent.yml, and start the agent again"}
}

// filesystemChecks are of what block makes of new volumes; what is on those that exist, nobody knows before they are attached.
func filesystemChecks(filesystem string) []api.Check {
	filesystem = cmp.Or(filesystem, "ext4")
	packages := map[string]string{"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
	if _, known := packages[filesystem]; !known {
		return []api.Check{{Name: "options", Object: "filesystem", Problem: fmt.Sprintf("%s is none of %v", filesystem, mount.Formats()), Remedy: "mend it in agent.yml"}}
	}
	return []api.Check{moduleCheck(filesystem), programCheck("mkfs."+filesystem, packages[filesystem])}
}

func programCheck(name, from string) api.Check {
	c := api.Check{Name: "program", Object: name}
	path, err := run.Find(name)
	if err != nil {
		c.Problem, c.Remedy = "it is not installed", "apt install "+from
		return c
	}
	c.OK, c.Found = true, path
	return c
}

func rootCheck() api.Check {
	c := api.Check{Name: "user", Object: "root", OK: os.Geteuid() == 0, Found: "the agent is root"}
	if !c.OK {
		c.Found, c.Problem, c.Remedy = "", fmt.Sprintf("user %d can neither mount nor make devices", os.Geteuid()), "run the agent as root"
	}
	return c
}

// kernelCheck compares the first two numbers of the kernel's release.
func kernelCheck(oldest string) api.Check {
	c := api.Check{Name: "kernel", Object: "Linux " + oldest}
	release, err := kernelRelease()
	if err != nil {
		c.Problem, c.Remedy = err.Error(), "see \"uname -r\""
		return c
	}
	if newer(release, oldest) {
		c.OK, c.Found = true, release
		return c
	}
	c.Problem, c.Remedy = "this is "+release, "a newer kernel"
	return c
}

// newer says whether a release is at least the oldest that serves.
func newer(release, oldest string) bool {
	var have, want [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(oldest, "%d.%d", &want[0], &want[1]); err != nil {
		return false
	}
	return have[0] > want[0] || have[0] == want[0] && have[1] >= want[1]
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// moduleCheck looks for a filesystem, or the loop driver: in the kernel now, or as a module that it loads when it is asked for.
func moduleCheck(name string) api.Check {
	c := api.Check{Name: "kernel module", Object: name, OK: true, Found: "in the kernel"}
	if inKernel(name) {
		return c
	}
	if release, err := kernelRelease(); err == nil && loadable(filepath.Join("/lib/modules", release), name) {
		c.Found = "a module that is loaded when it is needed"
		return c
	}
	return api.Check{
		Name: c.Name, Object: c.Object, Problem: "this kernel has it neither built in nor as a module",
		Remedy: "a kernel with it; on Debian and Ubuntu that of linux-image-amd64 or linux-image-generic",
	}
}

func inKernel(name string) bool {
	if _, err := os.Stat("/sys/module/" + name); err == nil {
		return true
	}
	if _, err := os.Stat("/dev/loop-control"); name == "loop" && err == nil {
		return true
	}
	return hasLine("/proc/filesystems", func(line string) bool { return strings.TrimSpace(strings.TrimPrefix(line, "nodev")) == name })
}

// loadable looks for a module where modprobe does.
func loadable(dir, name string) bool {
	return hasLine(filepath.Join(dir, "modules.dep"), func(line string) bool {
		file, _, _ := strings.Cut(line, ":")
		module, _, _ := strings.Cut(filepath.Base(file), ".")
		return module == name
	})
}

func hasLine(path string, is func(string) bool) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if is(lines.Text()) {
			return true
		}
	}
	return false
}
