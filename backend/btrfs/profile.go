// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// compressionAttr is btrfs's own property of a file or folder: what is made in a folder gets it too, and it is sent with the rest.
const compressionAttr = "btrfs.compression"

// ProfileOptions are what a profile may choose. Storing without copy-on-write is not among them: it gives up the checksums.
func ProfileOptions() []backend.ProfileOption {
	return []backend.ProfileOption{
		{Name: "compression", About: "zstd, lzo, zlib, or none where the filesystem is mounted with one", Check: backend.OneOf("zstd", "lzo", "zlib", "none")},
	}
}

// Profiles are those of the configuration.
func (d *Driver) Profiles() []cluster.Profile { return d.config.Profiles.List() }

// setProfile is for a subvolume with nothing in it yet. Later it would be a change of the data.
func (d *Driver) setProfile(subvolume, profile string) error {
	compression := d.config.Profiles[profile]["compression"]
	if compression == "" {
		return nil
	}
	if err := unix.Lsetxattr(subvolume, compressionAttr, []byte(compression), 0); err != nil {
		return fmt.Errorf("set %s=%s on %s: %w", compressionAttr, compression, subvolume, sentinel(err))
	}
	return nil
}

// tryProfiles makes a folder of each profile and removes it: what it can compress with, only the kernel knows. A pool that is full is used as it
// is, or nothing on it could start any more.
func (d *Driver) tryProfiles() error {
	var errs []error
	for _, p := range d.Profiles() {
		err := d.tryProfile(p)
		if errors.Is(err, backend.ErrNoSpace) {
			d.log.Warn("the pool is too full to try what profiles choose", "pool", d.root, "error", err)
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *Driver) tryProfile(p cluster.Profile) error {
	place := d.dir(incomingDir, rand.Text())
	if err := os.Mkdir(place, 0o700); err != nil {
		return fmt.Errorf("try profile %s: %w", p.Name, sentinel(err))
	}
	err := d.setProfile(place, p.Name)
	if errors.Is(err, unix.EINVAL) {
		err = &cluster.FieldError{Field: "profiles." + p.Name + ".compression", Problem: "this kernel's btrfs cannot compress with " + p.Options["compression"]}
	}
	return errors.Join(err, os.Remove(place))
}
