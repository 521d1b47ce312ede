// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

func TestCredentialsFollowTheirFiles(t *testing.T) {
	w := newWorld(t)
	write := func(name string) (serial string) {
		t.Helper()
		for _, suffix := range []string{".crt", ".key"} {
			if err := os.Remove(filepath.Join(w.dir, "node"+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		issued, err := w.IssueNode(node1)
		if err != nil {
			t.Fatal(err)
		}
		if err := issued.Write(w.dir, name); err != nil {
			t.Fatal(err)
		}
		return pki.SerialOf(decode(t, issued.CertPEM))
	}
	first := write(pki.NodeName)
	c, err := pki.LoadCredentials(w.dir, pki.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	var reports []error
	c.Report = func(err error) { reports = append(reports, err) }
	server, client := pki.ServerTLS(w.control(t), pki.ServerOptions{}), pki.ClientTLS(c, pki.ExpectControl())
	connect := func() string {
		t.Helper()
		got := handshake(t, server, client)
		if got.server != nil || got.client != nil {
			t.Fatalf("server %v, client %v", got.server, got.client)
		}
		return got.seen.Serial
	}
	if got := connect(); got != first {
		t.Errorf("serial %s; want %s", got, first)
	}
	second := write(pki.NodeName)
	if got := connect(); got != second {
		t.Errorf("serial %s; want that of the new file, %s", got, second)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "node.crt"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := connect(); got != second {
		t.Errorf("serial %s; want %s, as the new file cannot be used", got, second)
	}
	if connect(); len(reports) != 2 || reports[0] != nil || !errors.Is(reports[1], cluster.ErrInvalid) {
		t.Errorf("reports %v; want one of success and one of failure", reports)
	}
}

func TestCredentialsThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	issued, err := w.IssueNode(node1)
	if err != nil {
		t.Fatal(err)
	}
	another, err := w.IssueNode(node2)
	if err != nil {
		t.Fatal(err)
	}
	ca := w.CertificatePEM()
	for _, tt := range []struct {
		name string
		ca   []byte
		pair pki.Issued
		want error
	}{
		{"another authority", other.CertificatePEM(), issued, pki.ErrForeign},
		{"another's key", ca, pki.Issued{CertPEM: issued.CertPEM, KeyPEM: another.KeyPEM}, cluster.ErrInvalid},
		{"no authority", issued.CertPEM, issued, cluster.ErrInvalid},
		{"two authorities", append(other.CertificatePEM(), ca...), issued, cluster.ErrInvalid},
		{"nothing", nil, pki.Issued{}, cluster.ErrInvalid},
	} {
		if _, err := pki.NewCredentials(tt.ca, tt.pair); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, err, tt.want)
		}
	}
	_, err = pki.LoadCredentials(t.TempDir(), pki.NodeName)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "cluster.crt") {
		t.Errorf("LoadCredentials of an empty folder = %v; want %v with the file's name", err, fs.ErrNotExist)
	}
}
