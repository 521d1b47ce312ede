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

// ext4Features are those of a new ext4, whatever this machine's mkfs.ext4 gives by itself: another machine mounts it next, whose kernel may be
// older. There is no orphan_file among them: mounting reads that file block by block, and it has 512 of them from 8 GiB on, which takes a
// volume on a network 100 to 200 ms.
const ext4Features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,metadata_csum," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize"

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
		cmd = run.Command(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-U", fs.UUID, "-O", ext4Features, "-E", lazy,
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
