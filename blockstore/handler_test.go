// SPDX-License-Identifier: Apache-2.0

package blockstore_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/blockstore"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/pki"
)

const (
	hostID = cluster.NodeID("8a9e1a3c-53a6-4f2e-9b8e-3b0d6f1c2d10")
	nodeID = cluster.NodeID("8a9e1a3c-53a6-4f2e-9b8e-3b0d6f1c2d11")
)

// world is a store with its service, and the authority of its cluster.
type world struct {
	t         *testing.T
	dir       string
	authority *pki.Authority
	store     *blockstore.Store
	address   string
}

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := pki.CreateAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), authority: authority(t)}
	w.store = w.open()
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	credentials := w.issued(w.authority, w.node(w.authority, hostID))
	done := make(chan error, 1)
	go func() { done <- blockstore.Serve(t.Context(), w.store, credentials, l, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) config() blockstore.Config {
	return blockstore.Config{
		Dir: w.dir, Cluster: w.authority.Cluster(), Host: "127.0.0.1", FirstPort: 20710, LastPort: 20799,
		BootID: "this boot", Log: slog.New(slog.DiscardHandler),
	}
}

func (w *world) open() *blockstore.Store {
	w.t.Helper()
	store, err := blockstore.Open(w.t.Context(), w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

func (w *world) node(a *pki.Authority, id cluster.NodeID) pki.Issued {
	w.t.Helper()
	issued, err := a.IssueNode(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return issued
}

func (w *world) user(role pki.Role) pki.Issued {
	w.t.Helper()
	issued, err := w.authority.IssueUser("somebody", role)
	if err != nil {
		w.t.Fatal(err)
	}
	return issued
}

func (w *world) issued(a *pki.Authority, issued pki.Issued) *pki.Credentials {
	w.t.Helper()
	c, err := pki.NewCredentials(a.CertificatePEM(), issued)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) client(a *pki.Authority, issued pki.Issued) *client.Client {
	w.t.Helper()
	c, err := client.New(w.address, pki.ClientTLS(w.issued(a, issued), pki.ExpectNode(hostID)))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func spec() client.Spec {
	return client.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: 8 << 20}
}

func TestRolesMayDoWhatIsTheirsOnly(t *testing.T) {
	w := newWorld(t)
	v, err := w.store.Create(spec())
	if err != nil {
		t.Fatal(err)
	}
	detach := client.DetachRequest{Machine: "nobody", Attachment: 7}
	for _, c := range []struct {
		who                  string
		issued               pki.Issued
		reads, works, fences bool
	}{
		{"a node", w.node(w.authority, nodeID), true, true, true},
		{"an admin", w.user(pki.RoleAdmin), true, false, true},
		{"an operator", w.user(pki.RoleOperate), true, false, false},
		{"a reader", w.user(pki.RoleRead), true, false, false},
	} {
		t.Run(c.who, func(t *testing.T) {
			by := w.client(w.authority, c.issued)
			_, err := by.Volumes(t.Context())
			allowed(t, "list", err, c.reads)
			_, err = by.Create(t.Context(), client.Spec{Dataset: v.Dataset})
			allowed(t, "create", err, c.works)
			allowed(t, "grow", by.Grow(t.Context(), v.ID, 1), c.works)
			allowed(t, "destroy", by.Destroy(t.Context(), "vol-none"), c.works)
			allowed(t, "detach", by.Detach(t.Context(), v.ID, detach), c.fences)
			if _, err := by.Attach(t.Context(), "vol-none"); c.works != errors.Is(err, backend.ErrNotFound) || c.works == errors.Is(err, cluster.ErrForbidden) {
				t.Errorf("attach of no volume = %v", err)
			}
		})
	}
}

func allowed(t *testing.T, what string, err error, want bool) {
	t.Helper()
	if want && err != nil || !want && !errors.Is(err, cluster.ErrForbidden) {
		t.Errorf("%s = %v; want it allowed: %v", what, err, want)
	}
}

func TestStrangersAreNotHeard(t *testing.T) {
	w := newWorld(t)
	other := authority(t)
	if _, err := w.client(other, w.node(other, nodeID)).Volumes(t.Context()); err == nil {
		t.Error("a node of another cluster was answered")
	}
	c, err := client.New(w.address, pki.ClientTLS(w.issued(w.authority, w.node(w.authority, nodeID)), pki.ExpectControl()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Volumes(t.Context()); err == nil || !strings.Contains(err.Error(), pki.ErrWrongPeer.Error()) {
		t.Errorf("a client that expects somebody else: %v; want %v", err, pki.ErrWrongPeer)
	}
}

func needsExports(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real exports")
	}
	runtest.Programs(t, "nbdkit", "qemu-img")
}

func TestDetachThatArrivesLateEndsNoLaterAttachment(t *testing.T) {
	needsExports(t)
	w := newWorld(t)
	node := w.client(w.authority, w.node(w.authority, nodeID))
	v, err := node.Create(t.Context(), spec())
	if err != nil {
		t.Fatal(err)
	}
	first, err := node.Attach(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	end := func(e client.Export) {
		t.Helper()
		if err := node.Detach(t.Context(), v.ID, client.DetachRequest{Machine: string(nodeID), Attachment: e.Attachment}); err != nil {
			t.Fatal(err)
		}
	}
	end(first)
	second, err := node.Attach(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if first.Secret == second.Secret || first.Attachment == second.Attachment {
		t.Errorf("attachments %d and %d have one export", first.Attachment, second.Attachment)
	}
	end(first)
	if now, err := node.Volume(t.Context(), v.ID); err != nil || now.Machine != string(nodeID) {
		t.Errorf("Volume = %+v, %v; want it attached", now, err)
	}
	if err := node.Destroy(t.Context(), v.ID); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Destroy = %v; want %v", err, backend.ErrBusy)
	}
	end(second)
}

// opens tries an export as somebody who reaches its port; without a secret it does without.
func opens(t *testing.T, v client.Volume, e client.Export, secret string) error {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.psk"), []byte(e.User+":"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	object := "tls-creds-psk,id=key,endpoint=client,username=" + e.User + ",dir=" + dir
	image := "driver=nbd,server.type=inet,server.host=127.0.0.1,server.port=" + port(e) + ",export=" + v.ID
	if secret != "" {
		image += ",tls-creds=key"
	}
	return run.Command(t.Context(), "qemu-img", "info", "--object", object, "--image-opts", image).Run()
}

func TestExportIsForWhomItsSecretWasTold(t *testing.T) {
	needsExports(t)
	w := newWorld(t)
	node := w.client(w.authority, w.node(w.authority, nodeID))
	v, err := node.Create(t.Context(), spec())
	if err != nil {
		t.Fatal(err)
	}
	e, err := node.Attach(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := opens(t, v, e, e.Secret); err != nil {
		t.Errorf("with the secret: %v", err)
	}
	if opens(t, v, e, strings.Repeat("ab", 16)) == nil {
		t.Error("it opens with another secret")
	}
	if opens(t, v, e, "") == nil {
		t.Error("it opens without a secret")
	}
	words, err := run.Command(t.Context(), "ps", "-eo", "args").Output()
	if err != nil || strings.Contains(string(words), e.Secret) {
		t.Errorf("the secret is in a command line (%v)", err)
	}
	if err := node.Detach(t.Context(), v.ID, client.DetachRequest{Machine: string(nodeID), Attachment: e.Attachment}); err != nil {
		t.Fatal(err)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port(e)); err == nil {
		conn.Close()
		t.Error("somebody listens after Detach")
	}
}
