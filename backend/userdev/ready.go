// SPDX-License-Identifier: Apache-2.0

package userdev

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/flocker-project/flocker/mount"
)

// readyFor is how long a server waits for its device: longer than anything between a move's last look at its target and its gap.
const readyFor = 5 * time.Minute

// ready is a server without a device.
type ready struct {
	pid int
	end *time.Timer
}

// Ready starts the server of a volume and makes no device, which is left to Start: nobody reads or writes until then, and Start has less to
// do. One whose device runs, or that is ready, stays as it is. Unready or Stop ends it; so does a Start for which it is not fit any more.
func (d *Devices) Ready(ctx context.Context, spec Spec) error {
	if err := d.check(spec.ID); err != nil {
		return err
	}
	defer d.lock(spec.ID)()
	if device, err := d.serving(spec.ID); device != "" || err != nil {
		return err
	}
	if r, err := d.isReady(spec.ID); r != nil || err != nil {
		if r != nil {
			r.end.Reset(d.readyFor)
		}
		return err
	}
	if err := d.open(ctx, spec); err != nil {
		return d.given(ctx, spec.ID, err)
	}
	servers, err := d.servers(spec.ID)
	if err == nil && len(servers) != 1 {
		err = fmt.Errorf("%d processes serve it", len(servers))
	}
	if err != nil {
		return d.given(ctx, spec.ID, err)
	}
	d.ready.Store(spec.ID, &ready{servers[0].Pid, time.AfterFunc(d.readyFor, func() { d.overdue(spec.ID) })})
	return nil
}

// overdue ends what was made ready so long ago that nobody comes for it any more.
func (d *Devices) overdue(id string) {
	d.log.Warn("server of a volume was not used, and is ended", "volume", id, "after", d.readyFor)
	if err := d.Unready(context.Background(), id); err != nil {
		d.log.Warn("server of a volume that was not used is left until the next try", "volume", id, "error", err)
	}
}

// Unready ends what Ready started, unless there is a device of it by now.
func (d *Devices) Unready(ctx context.Context, id string) error {
	if err := d.check(id); err != nil {
		return err
	}
	defer d.lock(id)()
	if _, is := d.ready.Load(id); !is {
		return nil
	}
	if err := d.stop(ctx, id); err != nil {
		return fmt.Errorf("end the server of volume %s: %w", id, err)
	}
	return nil
}

// IsReady says whether Ready started a server of the volume that runs, of which there is no device yet and which shows that many bytes.
func (d *Devices) IsReady(id string, size int64) (bool, error) {
	defer d.lock(id)()
	r, err := d.isReady(id)
	if r == nil || err != nil {
		return false, err
	}
	file, err := os.Stat(d.file(id, diskFile))
	return err == nil && file.Size() == size, err
}

// isReady is nil where there is no such server.
func (d *Devices) isReady(id string) (*ready, error) {
	kept, is := d.ready.Load(id)
	if !is {
		return nil, nil
	}
	r := kept.(*ready) //nolint:forcetypeassert // nothing else is kept
	servers, err := d.servers(id)
	if err != nil || len(servers) != 1 || servers[0].Pid != r.pid {
		return nil, err
	}
	mounted, err := mount.Mounted(d.file(id, diskFile))
	if err != nil || !mounted {
		return nil, err
	}
	return r, nil
}

// unready forgets that a server is ready: there is a device of it now, or it ends.
func (d *Devices) unready(id string) {
	if kept, was := d.ready.LoadAndDelete(id); was {
		kept.(*ready).end.Stop() //nolint:forcetypeassert // nothing else is kept
	}
}

// Strays ends the servers without a device that this process did not make ready: those of a process that died with them. A device of which
// something is being done just now is passed over.
func (d *Devices) Strays(ctx context.Context) error {
	running, err := d.Running()
	if err != nil {
		return err
	}
	folders, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("folder of devices: %w", err)
	}
	for _, f := range folders {
		if id := f.Name(); f.IsDir() && running[id] == "" {
			if err := d.stray(ctx, id); err != nil {
				return fmt.Errorf("end the server of volume %s, which no device is of: %w", id, err)
			}
		}
	}
	return nil
}

func (d *Devices) stray(ctx context.Context, id string) error {
	unlock, free := d.tryLock(id)
	if !free {
		return nil
	}
	defer unlock()
	if _, ours := d.ready.Load(id); ours {
		return nil
	}
	running, err := d.Running() // it may have come to a device since
	if err != nil || running[id] != "" {
		return err
	}
	servers, err := d.servers(id)
	if err != nil || len(servers) == 0 {
		return err
	}
	d.log.InfoContext(ctx, "server without a device ends", "volume", id)
	return d.stop(ctx, id)
}
