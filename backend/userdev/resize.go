// SPDX-License-Identifier: Apache-2.0

package userdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/mount"
)

// Resize lets a running device have the size that its volume has by now. Where the volume's kind is enlarged by its
// client, as RBD is, this enlarges it.
func (d *Devices) Resize(ctx context.Context, id string, size int64) error {
	if err := d.check(id); err != nil {
		return err
	}
	defer d.lock(id)()
	running, err := d.Running()
	if err != nil {
		return err
	}
	device, is := running[id]
	if !is {
		return fmt.Errorf("enlarge the device of volume %s: %w", id, os.ErrNotExist)
	}
	if err := d.order(ctx, id, "block_resize", map[string]any{"node-name": node, "size": size}); err != nil {
		return fmt.Errorf("enlarge the device of volume %s: %w", id, err)
	}
	// The kernel asks for the file's size again only when somebody wants to know it.
	var now unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, d.file(id, diskFile), unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE, &now); err != nil {
		return fmt.Errorf("size of the file of volume %s: %w", id, err)
	}
	if int64(now.Size) < size {
		return fmt.Errorf("enlarge the device of volume %s: its server shows %d bytes after it was told %d", id, now.Size, size)
	}
	return mount.EnlargeLoop(device)
}

// answer is what the server says to an order, or before the first.
type answer struct {
	Return json.RawMessage
	Error  *struct {
		Desc string
	}
}

// order gives a server one order, in QEMU's protocol (QMP).
func (d *Devices) order(ctx context.Context, id, name string, arguments map[string]any) (err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", d.file(id, socketFile))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for _, o := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": name, "arguments": arguments}} {
		if err := out.Encode(o); err != nil {
			return fmt.Errorf("order %s: %w", o["execute"], err)
		}
		if err := hear(in); err != nil {
			return fmt.Errorf("order %s: %w", o["execute"], errors.Join(err, ctx.Err()))
		}
	}
	return nil
}

// hear reads up to the answer of the last order, past greetings and events.
func hear(in *json.Decoder) error {
	for {
		var a answer
		if err := in.Decode(&a); err != nil {
			return err
		}
		if a.Error != nil {
			return errors.New(a.Error.Desc)
		}
		if a.Return != nil {
			return nil
		}
	}
}
