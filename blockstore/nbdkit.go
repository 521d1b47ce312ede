// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"os"
	"strconv"

	"github.com/flocker-project/flocker/internal/run"
)

// nbdkit exports by NBD. Each export has a key of its own, which only the machine that attached it was told; whoever does not
// know it gets no further than the TLS handshake.
type nbdkit struct{}

func (nbdkit) program() string   { return "nbdkit" }
func (nbdkit) mark(w way) string { return "--tls-psk=" + w.secretFile() }
func (nbdkit) name(w way) string { return w.id }

func (x nbdkit) start(ctx context.Context, w way) error {
	if err := os.WriteFile(w.secretFile(), []byte(w.user()+":"+w.Secret+"\n"), 0o600); err != nil {
		return err
	}
	args := []string{"--exportname=" + w.id, "--port=" + strconv.Itoa(w.Port), "--tls=require", x.mark(w)}
	if w.host != "" {
		args = append(args, "--ipaddr="+w.host)
	}
	// It goes to the background when it listens.
	return run.Scoped(ctx, x.program(), append(args, "file", "file="+w.data())...).Run()
}
