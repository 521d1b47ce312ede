// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"testing"

	"github.com/flocker-project/flocker/pki"
)

// The files in testdata/original have the exact shape of the original's: RSA 4096, X.509 version 1 with extensions that
// version 1 does not have and Go therefore ignores, serial numbers of 128 bits, made with the library that the original used.
const original = "testdata/original"

func loadOriginal(t *testing.T, name string) *pki.Credentials {
	t.Helper()
	c, err := pki.LoadCredentials(original, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOriginalCertificatesWorkUnchanged(t *testing.T) {
	control, node := loadOriginal(t, pki.ControlName), loadOriginal(t, pki.NodeName)
	for _, tt := range []struct {
		client, server *pki.Credentials
		expect         pki.Expect
		kind           pki.Kind
		role           pki.Role
	}{
		{loadOriginal(t, pki.UserName), control, pki.ExpectControl(), pki.KindUser, pki.RoleAdmin},
		{loadOriginal(t, pki.PluginName), control, pki.ExpectControl(), pki.KindPlugin, ""},
		{node, control, pki.ExpectControl(), pki.KindNode, ""},
		{control, node, pki.ExpectNode(node.Identity().Node), pki.KindControl, ""},
		{node, node, pki.ExpectNode(node.Identity().Node), pki.KindNode, ""},
	} {
		got := handshake(t, pki.ServerTLS(tt.server, pki.ServerOptions{}), pki.ClientTLS(tt.client, tt.expect))
		if got.server != nil || got.client != nil || got.seen.Kind != tt.kind || got.seen.Role != tt.role {
			t.Errorf("%s at %s: seen %+v, server %v, client %v; want kind %q and role %q",
				tt.client.Identity(), tt.expect, got.seen, got.server, got.client, tt.kind, tt.role)
		}
	}
}

func TestOriginalAuthorityGoesOnSigning(t *testing.T) {
	authority, err := pki.LoadAuthority(original)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := authority.IssueNode(node1)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := pki.NewCredentials(authority.CertificatePEM(), issued)
	if err != nil {
		t.Fatal(err)
	}
	old := loadOriginal(t, pki.NodeName)
	got := handshake(t, pki.ServerTLS(joined, pki.ServerOptions{}), pki.ClientTLS(old, pki.ExpectNode(node1)))
	if got.server != nil || got.client != nil || got.seen != old.Identity() {
		t.Errorf("original node to new node: %+v", got)
	}
}
