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

const nbdkitSecret = "secret"

func (nbdkit) mark(w way) (program, argument string) {
	return "nbdkit", "--tls-psk=" + w.own(nbdkitSecret)
}

func (nbdkit) name(w way) string    { return w.id }
func (nbdkit) files(w way) []string { return []string{w.own(nbdkitSecret)} }

func (x nbdkit) start(ctx context.Context, w way) error {
	if err := os.WriteFile(w.own(nbdkitSecret), []byte(w.user()+":"+w.Secret+"\n"), 0o600); err != nil {
		return err
	}
	program, mark := x.mark(w)
	args := []string{"--exportname=" + w.id, "--port=" + strconv.Itoa(w.Port), "--tls=require", mark}
	if w.host != "" {
		args = append(args, "--ipaddr="+w.host)
	}
	// It goes to the background when it listens.
	return run.Scoped(ctx, program, append(args, "file", "file="+w.data())...).Run()
}
