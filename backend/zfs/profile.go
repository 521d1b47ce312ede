// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// profileMark is on a line whose properties are a profile's: which.
const profileMark = "org.flocker:profile"

// ProfileOptions are the properties of ZFS that a profile may set: none that gives up what was promised to a writer or makes damage
// go unnoticed, as sync=disabled and checksum=off do.
func ProfileOptions() []backend.ProfileOption {
	cached := backend.OneOf("all", "none", "metadata")
	return []backend.ProfileOption{
		{Name: "compression", About: "off, on, lz4, zstd, gzip-9 and the others of this ZFS", Check: formOf(compressions, "a compression, such as lz4")},
		{Name: "recordsize", About: "the largest block of a file, such as 16K for databases", Check: formOf(recordSizes, "a record size: a power of two from 512 to 16M")},
		{Name: "copies", About: "how often each block is stored: 1, 2 or 3", Check: backend.OneOf("1", "2", "3")},
		{Name: "logbias", About: "latency, or throughput to spare a separate log device", Check: backend.OneOf("latency", "throughput")},
		{Name: "primarycache", About: "what is kept in memory: all, metadata or none", Check: cached},
		{Name: "secondarycache", About: "what is kept on a cache device: all, metadata or none", Check: cached},
		{Name: "sync", About: "standard, or always: every write is on disk before it is answered", Check: backend.OneOf("standard", "always")},
	}
}

var (
	compressions = regexp.MustCompile(`^(off|on|lzjb|lz4|zle|gzip(-[1-9])?|zstd(-(1?[1-9]|10))?|zstd-fast(-[1-9][0-9]{0,3})?)$`)
	recordSizes  = regexp.MustCompile(`^(512|1024|2048|4096|8192|16384|32768|65536|131072|262144|524288|1048576|(1|2|4|8|16|32|64|128|256|512)[Kk]|(1|2|4|8|16)[Mm])$`)
)

func formOf(form *regexp.Regexp, want string) func(string) error {
	return func(value string) error {
		if form.MatchString(value) {
			return nil
		}
		return fmt.Errorf("%.80q is not %s", value, want)
	}
}

// Profiles are those of the configuration.
func (d *Driver) Profiles() []cluster.Profile { return d.profiles.List() }

// properties are what a line of that profile is made with, as options of `zfs create` and `zfs clone`. A profile that there is no more
// sets none.
func (d *Driver) properties(profile string) (options []string) {
	for _, p := range d.settings(profile) {
		options = append(options, "-o", p[0]+"="+p[1])
	}
	return options
}

// settings are a profile's properties and the mark, which comes last: with it, all of them are there.
func (d *Driver) settings(profile string) (all [][2]string) {
	chosen, known := d.profiles[profile]
	if !known {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		all = append(all, [2]string{name, chosen[name]})
	}
	return append(all, [2]string{profileMark, profile})
}

// setProfile gives a line that exists a profile's properties, for what is written from now on.
func (d *Driver) setProfile(ctx context.Context, name, profile string) error {
	for _, p := range d.settings(profile) {
		if err := d.set(ctx, name, p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

// tryProfiles sets all that any profile chooses, once: which values this version and this pool have, only they know. It is tried where
// what is half made will be, and where now there is nothing; a filesystem made for it would have to be destroyed, and with zfs-fuse that
// waits for every disk of the machine.
func (d *Driver) tryProfiles(ctx context.Context) error {
	var errs []error
	for _, p := range d.profiles.List() {
		for _, name := range slices.Sorted(maps.Keys(p.Options)) {
			err := d.set(ctx, d.incoming(), name, p.Options[name])
			if errors.Is(err, backend.ErrNoSpace) { // it is used as it is, or nothing on it could start any more
				d.log.WarnContext(ctx, "the pool is too full to try what profiles choose", "profile", p.Name, "error", err)
				continue
			}
			if failure, said := errors.AsType[*run.Error](err); said {
				err = &cluster.FieldError{
					Field:   "profiles." + p.Name + "." + name,
					Problem: fmt.Sprintf("this ZFS has no %s: %s", p.Options[name], strings.TrimSpace(failure.Stderr)),
				}
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, d.untry(ctx))...)
}

// untry takes off what was tried, now or before a crash: what is received there would inherit it. Not every version knows every option.
func (d *Driver) untry(ctx context.Context) error {
	there, err := d.zfs(ctx, "get", "-H", "-o", "property", "-s", "local", "all", d.incoming())
	if err != nil {
		return err
	}
	set := strings.Fields(string(there))
	for _, o := range ProfileOptions() {
		if !slices.Contains(set, o.Name) {
			continue
		}
		if err := d.unset(ctx, d.incoming(), o.Name); err != nil {
			return err
		}
	}
	return nil
}
