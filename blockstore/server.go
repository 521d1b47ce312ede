// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/flocker-project/flocker/pki"
)

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 10 * time.Second
)

// Serve answers on a listener until ctx ends. Exports go on after that.
func Serve(ctx context.Context, store *Store, credentials *pki.Credentials, inner net.Listener, log *slog.Logger) error {
	refusals := pki.NewRefusals(log)
	listener := pki.Listen(inner, pki.ServerTLS(credentials, pki.ServerOptions{}), refusals.Handshake)
	server := &http.Server{Handler: Handler(store, log), ReadHeaderTimeout: headerTimeout}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		stopped <- server.Shutdown(limited)
	})
	err := server.Serve(listener)
	if !stop() {
		err = errors.Join(<-stopped, listener.Close())
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
