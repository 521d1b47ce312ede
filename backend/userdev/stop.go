// SPDX-License-Identifier: Apache-2.0

package userdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// endKindly is how long a server may take to end by itself after all is flushed.
const endKindly = 2 * time.Second

// Stop returns once the device and its server are gone and what was written is with the volume's server. A device that
// something has open is mount.ErrBusy, and stays. ErrUnflushed says that it is gone without that last confirmation. What
// does not run is stopped.
func (d *Devices) Stop(ctx context.Context, id string) error {
	if err := d.check(id); err != nil {
		return err
	}
	defer d.lock(id)()
	if err := d.stop(ctx, id); err != nil {
		return fmt.Errorf("stop the device of volume %s: %w", id, err)
	}
	return nil
}

// Abandon ends a device's server and leaves the device, which answers with errors to whoever uses it until Stop.
func (d *Devices) Abandon(ctx context.Context, id string) error {
	if err := d.check(id); err != nil {
		return err
	}
	servers, err := d.servers(id)
	if err != nil {
		return err
	}
	for _, s := range servers {
		d.log.Warn("device ends, because its volume's server lets it in no more", "volume", id, "pid", s.Pid)
		if err := s.End(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

func (d *Devices) stop(ctx context.Context, id string) error {
	d.unready(id)
	if err := d.removeLoops(ctx, id); err != nil {
		return err
	}
	// Nobody can write any more; what was written is now confirmed by the only one who knows.
	flushed, err := d.flush(ctx, id)
	if err != nil {
		return err
	}
	if err := d.end(ctx, id); err != nil {
		return err
	}
	if err := d.clear(id); err != nil {
		return err
	}
	return flushed
}

// removeLoops takes every loop device from the file; a crash may have left more than one.
func (d *Devices) removeLoops(ctx context.Context, id string) error {
	loops, err := mount.Loops()
	if err != nil {
		return err
	}
	for _, l := range loops {
		if other, ours := d.ours(l.File); !ours || other != id {
			continue
		}
		if err := mount.RemoveLoop(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// flush lets the volume's server put on disk what it got. It is a process of its own that waits for that, which can be
// ended with ctx: a server that is away holds it up for as long as it is waited for.
func (d *Devices) flush(ctx context.Context, id string) (flushed, err error) {
	disk := d.file(id, diskFile)
	mounted, err := mount.Mounted(disk)
	if err != nil || !mounted {
		return nil, err
	}
	if err := run.Command(ctx, "sync", disk).Run(); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return fmt.Errorf("%w: %w", ErrUnflushed, err), nil
	}
	return nil, nil
}

// end ends the servers and waits until they are gone.
func (d *Devices) end(ctx context.Context, id string) error {
	servers, err := d.servers(id)
	if err != nil {
		return err
	}
	for _, s := range servers {
		// All that it could still do is wait for its server.
		if err := s.End(ctx, endKindly); err != nil {
			return err
		}
	}
	return nil
}

// clear removes the file and what was put beside it. A server that was killed leaves its file mounted.
func (d *Devices) clear(id string) error {
	disk := d.file(id, diskFile)
	for {
		mounted, err := mount.Mounted(disk)
		if err != nil {
			return err
		}
		if !mounted {
			break
		}
		if err := unix.Unmount(disk, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", disk, err)
		}
	}
	return os.RemoveAll(d.Folder(id))
}
