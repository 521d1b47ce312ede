// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

func TestFilesAreForTheirOwnerOnlyAndNeverOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "flocker")
	w := newWorld(t)
	if err := w.Write(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, dir + "/cluster.crt": 0o600, dir + "/cluster.key": 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o; want %o", filepath.Base(path), info.Mode().Perm(), want)
		}
	}
	if err := newWorld(t).Write(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Write over another authority = %v; want %v", err, fs.ErrExist)
	}
	if loaded, err := pki.LoadAuthority(dir); err != nil || loaded.Cluster() != w.Cluster() || loaded.Name() != "test" {
		t.Errorf("the first authority is lost: %v", err)
	}
}

// A certificate whose key could not be written would block the next try.
func TestHalfAPairIsNotLeft(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node.key"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	issued, err := w.IssueNode(node1)
	if err != nil {
		t.Fatal(err)
	}
	if err := issued.Write(dir, pki.NodeName); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Write = %v; want %v", err, fs.ErrExist)
	}
	if _, err := os.Stat(filepath.Join(dir, "node.crt")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("node.crt without its key is left: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "node.key")); string(text) != "mine" {
		t.Errorf("the file that was there is now %q, %v", text, err)
	}
}

func TestAuthorityNeedsItsKey(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	key := filepath.Join(w.dir, "cluster.key")
	foreign, err := os.ReadFile(filepath.Join(other.dir, "cluster.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadAuthority(w.dir); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("LoadAuthority with another's key = %v; want %v", err, cluster.ErrInvalid)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadAuthority(w.dir); !errors.Is(err, pki.ErrNoAuthorityKey) {
		t.Errorf("LoadAuthority without key = %v; want %v", err, pki.ErrNoAuthorityKey)
	}
}

func TestCertificatesLastAsAskedAndNoLongerThanTheAuthority(t *testing.T) {
	w := newWorld(t)
	end := func() time.Time {
		issued, err := w.IssueNode(node1)
		if err != nil {
			t.Fatal(err)
		}
		return decode(t, issued.CertPEM).NotAfter
	}
	if got := time.Until(end()); got < 19*365*24*time.Hour {
		t.Errorf("a certificate lasts %v; want 20 years", got)
	}
	w.Lifetime = 24 * time.Hour
	if got := time.Until(end()); got > 24*time.Hour {
		t.Errorf("a certificate for a day lasts %v", got)
	}
	w.Lifetime = 100 * 365 * 24 * time.Hour
	if got := end(); got.After(w.ca.Leaf.NotAfter) {
		t.Errorf("a certificate outlives its authority: %v", got)
	}
}

// Clients other than Flocker's check the host they called, as any client of HTTPS does.
func TestControlIsKnownByItsHosts(t *testing.T) {
	w := newWorld(t)
	issued, err := w.IssueControl([]string{"control.example.com", "10.0.0.1", "2001:db8::1", "control-service"})
	if err != nil {
		t.Fatal(err)
	}
	cert := decode(t, issued.CertPEM)
	for _, host := range []string{"control.example.com", "10.0.0.1", "2001:db8::1", "control-service"} {
		if err := cert.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if len(cert.DNSNames) != 2 {
		t.Errorf("names %v; want each once", cert.DNSNames)
	}
	for _, host := range []string{"", "a b", "a/b", "https://a", "a:1"} {
		if _, err := w.IssueControl([]string{host}); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("IssueControl(%q) = %v; want %v", host, err, cluster.ErrInvalid)
		}
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", "../etc", "a/b", ".hidden", "a\nb", strings.Repeat("x", 60), "\xff"} {
		if _, err := w.IssueUser(name, pki.RoleRead); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("IssueUser(%q) = %v; want %v", name, err, cluster.ErrInvalid)
		}
	}
	for _, role := range []pki.Role{"", "root", "Admin"} {
		if _, err := w.IssueUser("alice", role); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("IssueUser with role %q = %v; want %v", role, err, cluster.ErrInvalid)
		}
	}
	for _, id := range []cluster.NodeID{"", "node1", "11111111-1111-4111-8111-11111111111", "{11111111-1111-4111-8111-111111111111}"} {
		if _, err := w.IssueNode(id); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("IssueNode(%q) = %v; want %v", id, err, cluster.ErrInvalid)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 65), "a\x00b"} {
		if _, err := pki.CreateAuthority(name); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("CreateAuthority(%q) = %v; want %v", name, err, cluster.ErrInvalid)
		}
	}
}

func TestRolesIncludeTheLesserOnes(t *testing.T) {
	order := []pki.Role{pki.RoleRead, pki.RoleOperate, pki.RoleAdmin}
	for i, have := range order {
		for j, want := range order {
			if have.Includes(want) != (i >= j) {
				t.Errorf("%s includes %s: %v", have, want, have.Includes(want))
			}
		}
	}
	if pki.RoleAdmin.Includes("unheard-of") || pki.Role("").Includes(pki.RoleRead) || pki.Role("").Includes("") {
		t.Error("an unknown role is included or includes another")
	}
}

// What is not understood is not taken for admin.
func TestUnknownRoleIsNobody(t *testing.T) {
	w := newWorld(t)
	issued, err := w.IssueUser("alice", pki.RoleRead)
	if err != nil {
		t.Fatal(err)
	}
	role := decode(t, issued.CertPEM).Extensions
	last := role[len(role)-1]
	for _, value := range [][]byte{nil, []byte("\x0c\x04root"), []byte("\x02\x01\x01"), append(last.Value, 0)} {
		forged := last
		forged.Value = value
		cert := w.forge(t, "user-alice", func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, forged) })
		got := handshake(t, pki.ServerTLS(w.control(t), pki.ServerOptions{}), naive(cert))
		if !errors.Is(got.server, pki.ErrBadIdentity) {
			t.Errorf("role %q: %v, %v; want %v", value, got.seen, got.server, pki.ErrBadIdentity)
		}
	}
}
