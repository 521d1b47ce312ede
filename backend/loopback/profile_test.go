// SPDX-License-Identifier: Apache-2.0

package loopback_test

import (
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// A volume is formatted as its profile says when it is made, and stays so wherever it is attached.
func TestAProfileChoosesTheFilesystem(t *testing.T) {
	f := needsLoops(t)
	layer := func(machine string, profiles backend.Profiles) backend.Driver {
		d, err := block.New(t.Context(), f.open(t, machine), block.Config{Filesystem: "ext4", Profiles: profiles})
		must(t, err)
		return d
	}
	one := layer("machine-0", backend.Profiles{"large-files": {"filesystem": "xfs"}, "plain": {}})
	two := layer("machine-1", nil)
	for profile, want := range map[string]string{"large-files": "xfs", "plain": "ext4", "": "ext4"} {
		id := cluster.DatasetID(uuid.NewString())
		point := filepath.Join(f.Mounts(t), string(id))
		must(t, one.Create(t.Context(), backend.Spec{Dataset: id, Size: 512 << 20, Epoch: 1, Profile: profile}))
		for _, d := range []backend.Driver{one, two} {
			at, mounter := d.(backend.Attacher), d.(backend.Mounter)
			must(t, at.Expect(t.Context(), []cluster.DatasetID{id}))
			must(t, at.Attach(t.Context(), id))
			must(t, mounter.Mount(t.Context(), id, point))
			table, err := mount.Table()
			must(t, err)
			if on, there := mount.At(table, point); !there || on.Type != want {
				t.Errorf("a volume of profile %q is mounted as %q on %s; want %s", profile, on.Type, at.Machine(), want)
			}
			must(t, mounter.Unmount(t.Context(), id))
			must(t, at.Detach(t.Context(), id))
		}
		must(t, two.Destroy(t.Context(), id))
	}
}
