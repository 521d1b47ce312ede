// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/pki"
)

// tokenRecords are join tokens, by id.
const tokenRecords store.Key[pki.TokenRecord] = "tokens/"

// Joining hands out tokens and, for them, certificates. Without the authority's key it is off.
type Joining struct {
	Joiner *pki.Joiner // nil without the authority's key
}

// CreateToken makes a token.
func (j Joining) CreateToken(ctx context.Context, by string, r api.TokenRequest) (api.Token, error) {
	if j.Joiner == nil {
		return api.Token{}, fmt.Errorf("the authority's key is not on this host, so that tokens are off; make the node's certificate with flocker ca: %w", cluster.ErrPrecondition)
	}
	token, record, err := j.Joiner.CreateToken(ctx, pki.TokenSpec{TTL: r.TTL.Std(), Uses: r.Uses, Endpoints: r.Endpoints, By: by})
	if err != nil {
		return api.Token{}, fmt.Errorf("create a join token: %w", err)
	}
	return api.Token{Token: token.Text(), Expires: record.Expires, Uses: record.Uses}, nil
}

// Join signs a new node's certificate.
func (j Joining) Join(ctx context.Context, r api.JoinRequest) (api.JoinReply, error) {
	if j.Joiner == nil {
		return api.JoinReply{}, fmt.Errorf("the authority's key is not on this host, so that tokens are off: %w", cluster.ErrPrecondition)
	}
	if r.Address != "" && net.ParseIP(r.Address) == nil {
		return api.JoinReply{}, &cluster.FieldError{Field: "address", Problem: fmt.Sprintf("%q is not an IP address", r.Address)}
	}
	joined, err := j.Joiner.Join(ctx, r.ID, r.Secret, []byte(r.CSR))
	if err != nil {
		return api.JoinReply{}, err
	}
	return api.JoinReply{Node: joined.Node, Certificate: string(joined.CertPEM), CA: string(joined.CAPEM)}, nil
}

// tokens keeps join tokens in the store.
type tokens struct {
	store *store.Store
	now   func() time.Time
}

// CreateToken stores a new token, and forgets those that are long over.
func (t tokens) CreateToken(ctx context.Context, r pki.TokenRecord) error {
	_, err := t.store.Update(ctx, func(tx *store.Tx) error {
		old, err := store.List(ctx, tx, tokenRecords)
		if err != nil {
			return err
		}
		for _, o := range old {
			switch {
			case o.Name == r.ID:
				return fmt.Errorf("token %s: %w", r.ID, cluster.ErrExists)
			case t.now().After(o.Value.Expires.Add(24 * time.Hour)):
				store.Delete(tx, tokenRecords.Under(o.Name))
			}
		}
		return store.Put(tx, tokenRecords.Under(r.ID), r)
	})
	return err
}

// UpdateToken changes a token in one transaction.
func (t tokens) UpdateToken(ctx context.Context, id string, change func(*pki.TokenRecord) error) error {
	_, err := t.store.Update(ctx, func(tx *store.Tx) error {
		r, err := store.Get(ctx, tx, tokenRecords.Under(id))
		if err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		return store.Put(tx, tokenRecords.Under(id), r)
	})
	return err
}
