// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/internal/run"
)

// SetIdentity gives a filesystem that is mounted nowhere, and was unmounted cleanly, another UUID. Interrupted it leaves a filesystem that
// may be broken.
func SetIdentity(ctx context.Context, device, fstype, id string) error {
	var steps [][]string
	switch fstype {
	case "ext4":
		// What its checksums begin with is its first UUID. It is written down, or every block with a checksum would have to be rewritten.
		steps = [][]string{{"tune2fs", "-O", "metadata_csum_seed", device}, {"tune2fs", "-U", id, device}}
	case "xfs":
		steps = [][]string{{"xfs_admin", "-U", id, device}}
	case "btrfs":
		steps = [][]string{{"btrfstune", "-f", "-M", id, device}}
	default:
		return fmt.Errorf("change the UUID on %s: filesystem %q is none of %v", device, fstype, Formats())
	}
	for _, words := range steps {
		if err := run.Command(ctx, words[0], words[1:]...).Run(); err != nil {
			return fmt.Errorf("change the UUID on %s: %w", device, err)
		}
	}
	return nil
}
