// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/control/store/storetest"
	"github.com/flocker-project/flocker/internal/run"
)

func TestExternal(t *testing.T) {
	if testing.Short() {
		t.Skip("building etcd takes long; not in short mode")
	}
	endpoint := startEtcd(t)
	n := 0
	storetest.Run(t, func(t *testing.T) *store.Store {
		n++ // one server for all, a corner of it for each
		s, err := store.Open(t.Context(), store.Options{
			Dir: t.TempDir(), Prefix: fmt.Sprintf("/test-%d/", n), Log: slog.New(slog.DiscardHandler),
			External: &store.External{Endpoints: []string{endpoint}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closed(t, s) })
		return s
	})
}

// startEtcd builds the real server from the module that is linked anyway, and runs it.
func startEtcd(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "etcd")
	if _, err := run.Command(t.Context(), "go", "build", "-o", binary, "go.etcd.io/etcd/server/v3").Output(); err != nil {
		t.Fatal(err)
	}
	client, peer := freeAddress(t), freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	done := make(chan error, 1)
	running.Go(func() {
		_, err := run.Command(ctx, binary, "--name", "test", "--data-dir", t.TempDir(), "--log-level", "error",
			"--listen-client-urls", "http://"+client, "--advertise-client-urls", "http://"+client,
			"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer,
			"--initial-cluster", "test=http://"+peer).Output()
		done <- err
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	waitFor(t, client, done)
	return client
}

func freeAddress(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitFor(t *testing.T, address string, done <-chan error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 400 {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("etcd ended: %v", err)
		}
	}
	t.Fatal("etcd did not start")
}
