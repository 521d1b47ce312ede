// SPDX-License-Identifier: Apache-2.0

package block

import (
	"cmp"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// ProfileOptions are what a profile of any network storage may choose.
func ProfileOptions() []backend.ProfileOption {
	return []backend.ProfileOption{{
		Name: filesystemOption, About: "that the volume is formatted with: " + strings.Join(mount.Formats(), ", "), Check: backend.OneOf(mount.Formats()...),
	}}
}

const filesystemOption = "filesystem"

// Profiles are the operator's, and those of the store that no operator gave a meaning of their own.
func (d *Driver) Profiles() []cluster.Profile {
	all := d.config.Profiles.List()
	if store, ok := backend.VolumesAs[backend.StoreProfiler](d.store); ok {
		for _, name := range store.StoreProfiles() {
			if _, there := d.config.Profiles[name]; !there {
				all = append(all, cluster.Profile{Name: name})
			}
		}
	}
	slices.SortFunc(all, func(a, b cluster.Profile) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// filesystemOf is what a new volume of a profile is formatted with.
func (d *Driver) filesystemOf(profile string) string {
	return cmp.Or(d.config.Profiles[profile][filesystemOption], d.config.Filesystem)
}
