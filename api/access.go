// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// Identify tells who a request comes from.
type Identify func(*http.Request) (pki.Identity, error)

// IdentifyTLS takes the identity from the request's verified connection.
func IdentifyTLS(r *http.Request) (pki.Identity, error) {
	if r.TLS == nil {
		return pki.Identity{}, pki.ErrNoCertificate
	}
	return pki.IdentityOf(*r.TLS)
}

// access decides who may do what, and logs each refused identity once for a reason.
type access struct {
	identify Identify
	refusals *pki.Refusals
}

// user lets in who has the role. The control service and nodes are no users.
func (a access) user(r *http.Request, role pki.Role) (pki.Identity, error) {
	id, err := a.identify(r)
	if err != nil {
		return id, fmt.Errorf("%w: %w", cluster.ErrForbidden, err)
	}
	switch {
	case id.Kind == pki.KindUser && id.Role.Includes(role):
		return id, nil
	case id.Kind == pki.KindPlugin && pki.RoleOperate.Includes(role):
		return id, nil
	case id.Kind == pki.KindUser:
		return id, a.refuse(id, fmt.Errorf("this needs the role %s, %s has %s", role, id, id.Role))
	}
	return id, a.refuse(id, fmt.Errorf("this needs a user's certificate, not that of %s", id))
}

// node lets in agents.
func (a access) node(r *http.Request) (pki.Identity, error) {
	id, err := a.identify(r)
	if err != nil {
		return id, fmt.Errorf("%w: %w", cluster.ErrForbidden, err)
	}
	if id.Kind != pki.KindNode {
		return id, a.refuse(id, fmt.Errorf("this needs a node's certificate, not that of %s", id))
	}
	return id, nil
}

func (a access) refuse(id pki.Identity, reason error) error {
	err := fmt.Errorf("%w: %w", cluster.ErrForbidden, reason)
	a.refusals.Request(id, err)
	return err
}
