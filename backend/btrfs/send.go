// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// pipeSize lets the kernel run ahead of the network.
const pipeSize = 1 << 20

// Send writes the kernel's stream. The data of a difference is read here where its files can be told, which is faster.
func (d *Driver) Send(ctx context.Context, id cluster.DatasetID, snapshot, base string, w io.Writer) error {
	parent := uint64(0)
	if base != "" {
		info, err := d.readOnly(id, base)
		if err != nil {
			return fmt.Errorf("base %s: %w: %w", base, backend.ErrBaseMissing, err)
		}
		parent = info.treeID
	}
	if _, err := d.readOnly(id, snapshot); err != nil {
		return err
	}
	tree := d.snapshot(id, snapshot)
	if parent != 0 {
		o, err := d.outlineOf(ctx, tree, parent)
		if err != nil {
			return err
		}
		if o != nil {
			return o.send(ctx, tree, w)
		}
	}
	return d.kernelSend(ctx, tree, parent, withData, w)
}

// Of the flags of BTRFS_IOC_SEND.
const (
	withData    = 0
	withoutData = 1
)

// kernelSend lets the kernel write its stream into a pipe, and copies it to w.
func (d *Driver) kernelSend(ctx context.Context, tree string, parent uint64, flags uint64, w io.Writer) error {
	source, err := openDir(tree)
	if err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("send: %w", err), unix.Close(source))
	}
	defer out.Close()
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		d.log.Debug("small pipe", "error", err)
	}
	sent := make(chan error, 1)
	d.sends.Go(func() {
		blocked := withoutSignals()
		args := &sendArgs{fd: int64(in.Fd()), parentRoot: parent, flags: flags}
		if parent != 0 {
			args.cloneSources, args.cloneCount = &parent, 1
		}
		err := blocked
		if err == nil {
			err = ioctl(source, iocSend, args)
		}
		sent <- errors.Join(err, in.Close(), unix.Close(source))
	})
	return finishSend(ctx, out, w, sent)
}

// withoutSignals keeps signals from the goroutine for the rest of its life; its thread ends with it. A signal while the kernel waits
// to write its stream makes it begin the call anew (ERESTARTSYS), with the stream's first bytes in the middle of the stream. Go's
// scheduler sends such signals.
func withoutSignals() error {
	runtime.LockOSThread()
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	return nil
}

// abandonWithin bounds the wait for the kernel to notice that nobody reads its stream any more.
const abandonWithin = 2 * time.Second

// finishSend copies the stream until its end or that of ctx. The kernel stops at its next write into the closed pipe.
// Until then the snapshot is busy, so that is waited for a little.
func finishSend(ctx context.Context, out *os.File, w io.Writer, sent <-chan error) error {
	stop := context.AfterFunc(ctx, func() {
		out.Close() // wakes the copy and fails the kernel's next write; the second close says so too
	})
	defer stop()
	buffer := make([]byte, 256<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{out}, buffer)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		out.Close() // again, where ctx has closed it
		select {
		case <-sent: //nolint:errcheck // it says only that its reader has gone
		case <-time.After(abandonWithin):
		}
		return fmt.Errorf("send: %w", err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("send: %w", sentinel(err))
	}
	return nil
}

// readOnly is the information of a snapshot that is there and whole.
func (d *Driver) readOnly(id cluster.DatasetID, name string) (*subvolInfo, error) {
	path := d.snapshot(id, name)
	is, err := isSubvolume(path)
	if err != nil {
		return nil, err
	}
	if !is {
		return nil, fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
	}
	info, err := subvolumeInfo(path)
	if err != nil {
		return nil, err
	}
	if !info.readOnly() {
		return nil, fmt.Errorf("snapshot %s: %w: it is writable", name, backend.ErrNotFound)
	}
	return info, nil
}
