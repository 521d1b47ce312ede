// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// Role is what a user may do; each includes the ones before it.
type Role string

// The roles of users.
const (
	RoleRead    Role = "read"    // look at everything
	RoleOperate Role = "operate" // deploy, move, create, remove
	RoleAdmin   Role = "admin"   // tokens, revocation, fencing
)

func roles() []Role { return []Role{RoleRead, RoleOperate, RoleAdmin} }

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	if !slices.Contains(roles(), Role(name)) {
		return "", fmt.Errorf("role %q: %w: want read, operate or admin", name, cluster.ErrInvalid)
	}
	return Role(name), nil
}

// Includes says whether the role may do what other may.
func (r Role) Includes(other Role) bool {
	have, want := slices.Index(roles(), r), slices.Index(roles(), other)
	return want >= 0 && have >= want
}

// roleOID is of the arc 1.2.840.113556.1.8000.2554, under which anyone may use a UUID of his own in seven parts;
// ours is 4f63b908-d1c1-43ad-ae6e-8480e6b941d8, and 1 is the role. The value is a UTF8String.
func roleOID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113556, 1, 8000, 2554, 20323, 47368, 53697, 17325, 44654, 8683750, 12141016, 1}
}

func roleExtension(r Role) (pkix.Extension, error) {
	value, err := asn1.MarshalWithParams(string(r), "utf8")
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encode role %q: %w", r, err)
	}
	return pkix.Extension{Id: roleOID(), Value: value}, nil
}

// roleOf is the certificate's role: admin without the extension, as in the original; never a guess with one that is not understood.
func roleOf(cert *x509.Certificate) (Role, error) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(roleOID()) {
			continue
		}
		var name string
		if rest, err := asn1.UnmarshalWithParams(ext.Value, &name, "utf8"); err != nil || len(rest) > 0 {
			return "", fmt.Errorf("%w: its role cannot be read", ErrBadIdentity)
		}
		role, err := ParseRole(name)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrBadIdentity, err)
		}
		return role, nil
	}
	return RoleAdmin, nil
}
