// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
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

// secretFile is a file in the volume's folder by whose name, among others, the export's process is known.
func (w way) secretFile() string {
	return filepath.Join(w.dir, "secret-"+strconv.FormatUint(w.number, 10))
}

// exporter serves volumes by one protocol, each attachment by a process of its own: when that has ended, nothing can write to
// the volume through it any more, and that is how a machine is kept out.
type exporter interface {
	// start starts the process and returns once a client can connect.
	start(ctx context.Context, w way) error
	// program is its name, and mark the argument that no other export has.
	program() string
	mark(w way) string
	// name is the volume's to a client.
	name(w way) string
}

func exporters() map[client.Protocol]exporter {
	return map[client.Protocol]exporter{client.NBD: nbdkit{}}
}

// processes are those that serve an export.
func processes(x exporter, w way) ([]run.Process, error) {
	return run.Processes(func(args []string) bool {
		if filepath.Base(args[0]) != x.program() {
			return false
		}
		for _, a := range args {
			if a == x.mark(w) {
				return true
			}
		}
		return false
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
