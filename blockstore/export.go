// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/flocker-project/flocker/internal/run"
)

// exportProgram serves one attachment of a volume by NBD. When it has ended, nothing can write to the volume through the
// attachment any more, and that is how a machine is kept out.
const exportProgram = "nbdkit"

// way is all that an attachment's process has to know.
type way struct {
	dir    string // the volume's folder
	id     string // the volume's
	number uint64 // the attachment's
	host   string // the address to listen on; empty: all
	export
}

// data is the volume itself.
func (w way) data() string { return filepath.Join(w.dir, dataFile) }

// user is who may use the export.
func (w way) user() string { return "attachment-" + strconv.FormatUint(w.number, 10) }

// secretFile is the process's own copy of the attachment's key. It is all that is left after the process.
func (w way) secretFile() string {
	return filepath.Join(w.dir, secretPrefix+strconv.FormatUint(w.number, 10))
}

// mark is the argument that no other attachment's process has.
func (w way) mark() string { return markPrefix + w.secretFile() }

const (
	secretPrefix = "secret-"
	markPrefix   = "--tls-psk="
)

// start starts the process and returns once a client can connect. Only the machine that attached was told the key; whoever does
// not know it gets no further than the TLS handshake.
func (w way) start(ctx context.Context) error {
	if err := os.WriteFile(w.secretFile(), []byte(w.user()+":"+w.Secret+"\n"), 0o600); err != nil {
		return err
	}
	args := []string{"--exportname=" + w.id, "--port=" + strconv.Itoa(w.Port), "--tls=require", w.mark()}
	if w.host != "" {
		args = append(args, "--ipaddr="+w.host)
	}
	// It goes to the background when it listens.
	return run.Scoped(ctx, exportProgram, append(args, "file", "file="+w.data())...).Run()
}

// processes are those that serve the attachment.
func (w way) processes() ([]run.Process, error) {
	return run.Processes(func(args []string) bool {
		return filepath.Base(args[0]) == exportProgram && slices.Contains(args, w.mark())
	})
}

// kill returns once nothing can write through the export any more: its process is gone, with every write that was under way.
func (w way) kill(ctx context.Context) error {
	found, err := w.processes()
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
