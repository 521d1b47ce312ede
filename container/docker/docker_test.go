// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/containertest"
	"github.com/flocker-project/flocker/container/docker"
	"github.com/flocker-project/flocker/internal/run"
)

// fixture is what the tests of this process share on the real engine; every name carries the process id, so that runs do not meet.
type fixture struct {
	api   *client.Client
	image string
	once  sync.Once
	away  error // the engine cannot be reached
	err   error
}

func (f *fixture) open(ctx context.Context) {
	if f.api, f.err = client.New(client.FromEnv); f.err != nil {
		return
	}
	if _, f.away = f.api.Ping(ctx, client.PingOptions{}); f.away != nil {
		return
	}
	e, err := docker.Open(config(os.TempDir()), slog.New(slog.DiscardHandler))
	if err != nil {
		f.err = err
		return
	}
	f.err = errors.Join(importProbe(ctx, f.api, f.image), e.Join(ctx, network), e.Close())
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

var shared = &fixture{image: fmt.Sprintf("containertest/probe:%d", os.Getpid())}

// network is this process's own: runs do not meet.
var (
	network = container.NetworkConfig{
		Subnet:  netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/20", 200+os.Getpid()%50, os.Getpid()/50%16*16)),
		Gateway: netip.MustParseAddr(fmt.Sprintf("10.%d.%d.2", 200+os.Getpid()%50, os.Getpid()/50%16*16)),
		MTU:     1400,
	}
	addresses = containertest.NewAddresses(network.Gateway)
)

func runTests(m *testing.M) int {
	code := m.Run()
	if shared.api == nil || shared.away != nil {
		return code
	}
	ctx := context.Background()
	engine, err := docker.Open(config(os.TempDir()), slog.New(slog.DiscardHandler))
	if err == nil {
		_, removed := shared.api.ImageRemove(ctx, shared.image, client.ImageRemoveOptions{Force: true})
		err = errors.Join(engine.RemoveShared(ctx), removed)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		fmt.Fprintln(os.Stderr, "clean up:", err)
		return 1
	}
	return code
}

func config(dir string) docker.Config {
	return docker.Config{
		Host:           os.Getenv("DOCKER_HOST"),
		Cluster:        fmt.Sprintf("containertest-%d", os.Getpid()),
		Network:        fmt.Sprintf("flocker-test-%d", os.Getpid()),
		Bridge:         fmt.Sprintf("flt%d", os.Getpid()),
		HolderImage:    fmt.Sprintf("containertest/holder:%d", os.Getpid()),
		SourceDir:      filepath.Join(dir, "sources"),
		CredentialsDir: dir,
	}
}

// engine is real Docker, with the probe's image on it.
func engine(t testing.TB) *docker.Engine {
	t.Helper()
	return engineWith(t, config(t.TempDir()))
}

func engineWith(t testing.TB, c docker.Config) *docker.Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers: not among the fast tests")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: looks at the processes of containers")
	}
	shared.once.Do(func() { shared.open(t.Context()) })
	if shared.away != nil {
		t.Skipf("needs Docker's engine (package docker.io), running: %v", shared.away)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	e := openOnly(t, c)
	if err := e.Join(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	return e
}

// openOnly opens an engine that has not joined.
func openOnly(t testing.TB, c docker.Config) *docker.Engine {
	t.Helper()
	e, err := docker.Open(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// importProbe builds the test program and makes an image of it alone.
func importProbe(ctx context.Context, api *client.Client, ref string) (err error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "probe")
	build := run.Command(ctx, "go", "build", "-o", program, "github.com/flocker-project/flocker/container/containertest/probe")
	build.Env = []string{"CGO_ENABLED=0"}
	if err := build.Run(); err != nil {
		return err
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "probe", Mode: 0o755, Size: int64(len(code))}
	if err := errors.Join(w.WriteHeader(header), writeAll(w, code), w.Close()); err != nil {
		return err
	}
	reply, err := api.ImageImport(ctx, client.ImageImportSource{Source: &archive, SourceName: "-"}, ref,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/probe"]`, "ENV FROM_IMAGE=kept"}})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, reply)
	return errors.Join(err, reply.Close())
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

func open(t *testing.T) containertest.Subject {
	e := engine(t)
	return containertest.Subject{
		Engine:    e,
		Image:     shared.image,
		Alive:     alive,
		Network:   network,
		Addresses: addresses,
		Unjoined:  func(t *testing.T) container.Engine { return openOnly(t, config(t.TempDir())) },
		Resolve:   func(t *testing.T, application, name string) string { return resolve(t, e, application, name) },
		RemoveImage: func(t *testing.T, ref string) {
			if _, err := shared.api.ImageRemove(t.Context(), ref, client.ImageRemoveOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		CopyImage: func(t *testing.T, ref string) {
			// One with an ID of its own: removing the last tag of it must remove it.
			if err := importProbe(t.Context(), shared.api, ref); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// alive looks for processes in the container's control group, which Docker names by the container's ID.
func alive(t *testing.T, application string) func() bool {
	id := inspect(t, container.NamePrefix+application).ID
	return func() bool { return processes(t, id) > 0 }
}

func TestContract(t *testing.T) { containertest.Run(t, open) }
