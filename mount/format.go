// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"context"
	"fmt"
	"strconv"

	"github.com/flocker-project/flocker/internal/run"
)

// Formats are the filesystems that Format makes.
func Formats() []string { return []string{"ext4", "xfs", "btrfs"} }

// Format makes a filesystem with that UUID in the first fs.Size bytes of a device, whatever is there. fresh says that
// the device holds only zeros, so that what must be zero need not be written. It is not told to discard: that of a whole
// volume takes long and gains nothing where nothing was written.
func Format(ctx context.Context, device string, fs Filesystem, fresh bool) error {
	var cmd *run.Cmd
	size := strconv.FormatInt(fs.Size, 10)
	switch fs.Type {
	case "ext4":
		// The kernel writes the inode tables later, in the background. A journal that is not written must be zero: what an
		// earlier one left could be taken for its own.
		lazy := "lazy_itable_init=1,lazy_journal_init=0,nodiscard"
		if fresh {
			lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
		}
		cmd = run.Command(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-U", fs.UUID, "-E", lazy,
			device, strconv.FormatInt(fs.Size>>10, 10)+"k")
	case "xfs":
		cmd = run.Command(ctx, "mkfs.xfs", "-q", "-f", "-K", "-m", "uuid="+fs.UUID, "-d", "size="+size, device)
	case "btrfs":
		cmd = run.Command(ctx, "mkfs.btrfs", "-q", "-f", "-K", "-U", fs.UUID, "-b", size, device)
	default:
		return fmt.Errorf("format %s: filesystem %q is none of %v", device, fs.Type, Formats())
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("format %s with %s: %w", device, fs.Type, err)
	}
	return nil
}
