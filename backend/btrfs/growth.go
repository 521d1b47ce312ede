// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Growth begins when less than a quarter of the pool, between smallestSpare and largestSpare, is free and not allocated, and adds
// the same again.
const (
	smallestSpare = 1 << 30
	largestSpare  = 4 << 30
	// A pool is taken to fill by this many bytes a second from each processor, and at most by that many: programs write to memory first.
	// Measured on two slow ones: 1.1 GB/s by one writer, 1.7 GB/s by two. Half of the spare is left for those that are faster.
	fastestWriter = 1 << 30
	fastestWrites = 4 << 30
)

// Space counts what the pool's file may still grow by as free.
func (d *Driver) Space(context.Context) (free, total int64, err error) {
	// While the file grows it has the room already, and the filesystem on it not yet.
	d.growing.Lock()
	defer d.growing.Unlock()
	free, total, err = d.space()
	if err != nil || d.file == nil {
		return free, total, err
	}
	_, room, err := d.file.size()
	return free + room, total + room, err
}

func (d *Driver) space() (free, total int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.root, &fs); err != nil {
		return 0, 0, fmt.Errorf("free space of the pool: %w", err)
	}
	promised, err := d.promised()
	return max(int64(fs.Bavail)*fs.Bsize-promised, 0), int64(fs.Blocks) * fs.Bsize, err
}

// promised is what programs have written and the kernel not yet put in a place: with much memory that is gigabytes,
// which statfs still counts as free (btrfs keeps it as bytes_may_use, see fs/btrfs/space-info.c).
func (d *Driver) promised() (int64, error) { return d.allocation("data/bytes_may_use") }

// unallocated is what btrfs has given to neither data nor metadata. Data takes it in large pieces, and once it is gone metadata cannot
// grow: writes fail then although there is room for data.
func (d *Driver) unallocated(total int64) (int64, error) {
	for _, kind := range []string{"data", "metadata", "system"} {
		n, err := d.allocation(kind + "/disk_total")
		if err != nil {
			return 0, err
		}
		total -= n
	}
	return max(total, 0), nil
}

// roomReader lets the pool grow with what is read, faster than the watch would notice.
type roomReader struct {
	io.Reader
	driver *Driver
	left   int64 // bytes until the next look
}

// lookEvery is how much is received between two looks at what is free.
const lookEvery = 32 << 20

func (g *roomReader) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if g.left -= int64(n); g.left < 0 && g.driver.file != nil {
		g.left = lookEvery
		if _, bad := g.driver.grow(); bad != nil && err == nil {
			err = bad
		}
	}
	return n, err
}

// Grow makes the pool's file larger when little is free in it. The driver does so by itself.
func (d *Driver) Grow(context.Context) error {
	_, err := d.grow()
	return err
}

// grow also says how much is free to write before the next look is due.
func (d *Driver) grow() (spare int64, err error) {
	d.growing.Lock()
	defer d.growing.Unlock()
	free, total, err := d.space()
	if err != nil {
		return 0, err
	}
	unallocated, err := d.unallocated(total)
	if err != nil {
		return 0, err
	}
	free = min(free, unallocated)
	step := min(max(total/4, smallestSpare), largestSpare)
	if free >= step {
		return free - step/2, nil
	}
	added, err := d.file.grow(step)
	if err != nil {
		return free / 2, err
	}
	if added == 0 {
		return free + largestSpare, nil // at its limit: nothing to hurry for
	}
	d.log.Info("pool grown", slog.String("file", d.config.File), slog.Int64("bytes", added))
	return (free + added) / 2, nil
}

// watch grows the pool while writers fill it: it looks again before they can have filled what is free.
func (d *Driver) watch(ctx context.Context) {
	fastest := float64(min(runtime.NumCPU()*fastestWriter, fastestWrites))
	failed := ""
	for {
		spare, err := d.grow()
		if err != nil && err.Error() != failed {
			failed = err.Error()
			d.log.Error("pool cannot grow", slog.Any("error", err))
		}
		wait := time.Duration(float64(spare) / fastest * float64(time.Second))
		timer := time.NewTimer(min(max(wait, 50*time.Millisecond), 10*time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
