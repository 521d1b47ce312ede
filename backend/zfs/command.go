// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/internal/run"
)

// limit is how long a program may say nothing. What it does is done at once or, such as replaying a log, within seconds.
const limit = 2 * time.Minute

// zfs runs the program and returns what it printed.
func (d *Driver) zfs(ctx context.Context, args ...string) ([]byte, error) {
	return d.output(ctx, "zfs", args)
}

func (d *Driver) zpool(ctx context.Context, args ...string) ([]byte, error) {
	return d.output(ctx, "zpool", args)
}

// output runs a program that ends soon. One that the kernel holds cannot even be killed, and is left to itself.
func (d *Driver) output(ctx context.Context, program string, args []string) ([]byte, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, d.limit, errSilent)
	defer cancel()
	var out []byte
	err := backend.UnlessEnded(bounded, func() error {
		said, err := run.Command(bounded, program, args...).Output()
		out = said
		return err
	})
	if err == nil {
		return out, nil
	}
	if errors.Is(context.Cause(bounded), errSilent) {
		return nil, fmt.Errorf("%s %s has not ended within %s: %w", program, strings.Join(args, " "), d.limit, errSilent)
	}
	return nil, sentinel(err)
}

func (d *Driver) set(ctx context.Context, name, property, value string) error {
	_, err := d.zfs(ctx, "set", property+"="+value, name)
	return err
}

// unset removes a property of ours.
func (d *Driver) unset(ctx context.Context, name, property string) error {
	_, err := d.zfs(ctx, "inherit", property, name)
	return err
}

func (d *Driver) number(ctx context.Context, property, name string) (int64, error) {
	out, err := d.zfs(ctx, "get", "-Hp", "-o", "value", property, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s of %s: %w", property, name, err)
	}
	return n, nil
}

// lastColumns reads the table of `zpool get`, which has no flags on old versions: name, property, value, source.
func lastColumns(table []byte) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) >= 3 {
			values[fields[1]] = fields[2]
		}
	}
	return values
}

// words are what the programs say, which has no other form on any version, and the contract's names for it.
var words = []struct {
	text string
	is   error
}{
	{"does not exist", backend.ErrNotFound},
	{"no such pool", backend.ErrNotFound},
	{"no such tag", backend.ErrNotFound},
	{"could not find any snapshots", backend.ErrNotFound},
	{"already exists", backend.ErrExists},
	{"conflicting snapshot", backend.ErrExists},
	{"is busy", backend.ErrBusy},
	{"already mounted", backend.ErrBusy},
	{"has dependent clones", backend.ErrBusy},
	{"has children", backend.ErrBusy},
	{"more recent snapshots", backend.ErrBusy},
	{"out of space", backend.ErrNoSpace},
	{"No space left", backend.ErrNoSpace},
	{"size is less than current used", backend.ErrNoSpace},
	{"quota exceeded", backend.ErrNoSpace},
	{"does not\nmatch incremental source", backend.ErrUnfit},
	{"does not match incremental source", backend.ErrUnfit},
	{"has been modified", backend.ErrUnfit},
}

// sentinel gives the contract's name to what a program says.
func sentinel(err error) error {
	failure, ok := errors.AsType[*run.Error](err)
	if !ok {
		return err
	}
	for _, w := range words {
		if strings.Contains(failure.Stderr, w.text) {
			return fmt.Errorf("%w: %w", w.is, err)
		}
	}
	return err
}

// patiently does something again while it is busy, less and less often.
func patiently(ctx context.Context, within time.Duration, f func() error) error {
	deadline := time.Now().Add(within)
	for wait := between; ; wait = min(2*wait, seldom) {
		err := f()
		if !errors.Is(err, backend.ErrBusy) || time.Now().Add(wait).After(deadline) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// abilities are what the installed version can do.
type abilities struct {
	fuse       bool     // it is zfs-fuse, or another without a device of the kernel's
	written    string   // the property that counts what was written since the last snapshot
	encryption bool     // there is encryption
	stored     []string // flags to send blocks as they are stored
	receivesAs bool     // `zfs receive` takes properties of what it makes
	resumes    bool     // a receive that broke off can go on
}

var sendFlags = regexp.MustCompile(`\[-([A-Za-z]+)\]`)

// probe asks the programs and the pool.
func (d *Driver) probe(ctx context.Context) (abilities, error) {
	var can abilities
	if _, err := os.Stat("/dev/zfs"); errors.Is(err, os.ErrNotExist) {
		can.fuse = true
	}
	for _, property := range []string{"written", "unique"} {
		if _, err := d.number(ctx, property, d.parent); err == nil {
			can.written = property
			break
		}
	}
	if can.written == "" {
		return can, fmt.Errorf("%w: this version of ZFS tells neither written nor unique of %s", backend.ErrUnsupported, d.parent)
	}
	_, err := d.zfs(ctx, "get", "-Hp", "encryption", d.parent)
	can.encryption = err == nil
	// Without its operands the command tells its usage.
	_, err = d.zfs(ctx, "send")
	failure, ok := errors.AsType[*run.Error](err)
	if !ok {
		return can, fmt.Errorf("the usage of zfs send: %w", err)
	}
	can.stored = storedFlags(failure.Stderr)
	goesOn := strings.Contains(failure.Stderr, "-t <receive_resume_token>")
	_, err = d.zfs(ctx, "receive")
	if failure, ok = errors.AsType[*run.Error](err); !ok {
		return can, fmt.Errorf("the usage of zfs receive: %w", err)
	}
	can.receivesAs = receivesAs(failure.Stderr)
	if goesOn {
		can.resumes, err = d.hasFeature(ctx, "extensible_dataset") // what is half received is kept with it
	} else {
		err = nil
	}
	return can, err
}

// hasFeature says whether the pool has a feature.
func (d *Driver) hasFeature(ctx context.Context, name string) (bool, error) {
	pool, _, _ := strings.Cut(d.parent, "/")
	table, err := d.zpool(ctx, "get", "feature@"+name, pool)
	if err != nil {
		return false, err
	}
	is := lastColumns(table)["feature@"+name]
	return is == "enabled" || is == "active", nil
}

// receivesAs says whether a usage text of `zfs receive` has -o property=value.
func receivesAs(usage string) bool {
	for line := range strings.Lines(usage) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "receive ") && strings.Contains(line, "-o <property>=<value>") {
			return true
		}
	}
	return false
}

// storedFlags are those of -L (large blocks), -e (embedded ones) and -c (compressed ones) that a usage text of `zfs send` has.
func storedFlags(usage string) []string {
	var known strings.Builder
	for line := range strings.Lines(usage) {
		if !strings.HasPrefix(strings.TrimSpace(line), "send ") {
			continue
		}
		for _, flags := range sendFlags.FindAllStringSubmatch(line, -1) {
			known.WriteString(flags[1])
		}
	}
	var flags []string
	for _, flag := range []string{"L", "e", "c"} {
		if strings.Contains(known.String(), flag) {
			flags = append(flags, "-"+flag)
		}
	}
	return flags
}
