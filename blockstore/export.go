// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/internal/run"
)

// way is all that an exporter has to know.
type way struct {
	dir     string // the volume's folder
	id      string // the volume's
	number  uint64 // the attachment's
	machine string
	host    string // the address to listen on; empty: all
	export
}

// data is the volume itself.
func (w way) data() string { return filepath.Join(w.dir, dataFile) }

// user is who may use the export.
func (w way) user() string { return "attachment-" + strconv.FormatUint(w.number, 10) }

// own is a file of this attachment in the volume's folder.
func (w way) own(name string) string {
	return filepath.Join(w.dir, name+"-"+strconv.FormatUint(w.number, 10))
}

// exporter serves volumes by one protocol, each attachment by a process of its own: when that has ended, nothing can write to
// the volume through it any more, and that is how a machine is kept out.
type exporter interface {
	// start starts the process and returns once a client can connect.
	start(ctx context.Context, w way) error
	// mark is the process's program, and the argument that no other export's process has. A path in the volume's folder is in it.
	mark(w way) (program, argument string)
	// name is the volume's to a client.
	name(w way) string
	// files are what is left after the process.
	files(w way) []string
}

func exporters() map[client.Protocol]exporter {
	return map[client.Protocol]exporter{client.NBD: nbdkit{}, client.ISCSI: tgt{}}
}

// processes are those that serve an export.
func processes(x exporter, w way) ([]run.Process, error) {
	program, argument := x.mark(w)
	return run.Processes(func(args []string) bool {
		return filepath.Base(args[0]) == program && slices.Contains(args, argument)
	})
}

// kill returns once nothing can write through the export any more: its process is gone, with every write that was under way.
func kill(ctx context.Context, x exporter, w way) error {
	found, err := processes(x, w)
	if err != nil {
		return err
	}
	for _, p := range found {
		if err := p.End(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// freePort finds a port that nobody has, outside those that are taken.
func freePort(ctx context.Context, host string, from, to int, taken map[int]bool) (int, error) {
	var lc net.ListenConfig
	for port := from; port <= to; port++ {
		if taken[port] {
			continue
		}
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			continue // somebody else's
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("none of the ports from %d to %d is free", from, to)
}
