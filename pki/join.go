// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
)

// Bounds of a token.
const (
	DefaultTokenTTL = time.Hour
	maxTokenTTL     = 30 * 24 * time.Hour
	maxTokenUses    = 1000
)

// Reasons for which a token is refused to someone who holds its secret.
var (
	ErrTokenExpired = errors.New("the join token is expired")
	ErrTokenUsed    = errors.New("the join token is used up")
)

// TokenRecord is what is stored of a token. Nothing in it lets anybody join.
type TokenRecord struct {
	ID      string    `json:"id"`
	Hash    []byte    `json:"hash"` // of the secret
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"` // left
	By      string    `json:"by"`   // who made it
	// Joined are the nodes that it made, by the hash of their key: a node whose reply was lost asks again.
	Joined map[string]cluster.NodeID `json:"joined,omitempty"`
}

// TokenStore keeps tokens for all processes of the control service. A record may be dropped a day after it expired.
type TokenStore interface {
	// CreateToken stores a new record; ErrExists if there is one with that id.
	CreateToken(ctx context.Context, record TokenRecord) error
	// UpdateToken reads the record, lets change alter it and stores it, as one transaction: nobody's change in between is lost,
	// and change may be called again. An error of change is returned as it is and stores nothing; cluster.ErrNotFound without a record.
	UpdateToken(ctx context.Context, id string, change func(*TokenRecord) error) error
}

// Joiner hands out tokens and, for them, node certificates.
type Joiner struct {
	Authority *Authority
	Tokens    TokenStore
	Now       func() time.Time // nil is time.Now
}

// TokenSpec is what a new token shall be good for.
type TokenSpec struct {
	TTL       time.Duration // 0 is DefaultTokenTTL
	Uses      int           // 0 is 1
	Endpoints []string      // host:port of the API
	By        string        // who asks, e.g. Identity.String()
}

func (s TokenSpec) check() error {
	switch {
	case s.TTL <= 0 || s.TTL > maxTokenTTL:
		return &cluster.FieldError{Field: "ttl", Problem: fmt.Sprintf("%v is not between 0 and %v", s.TTL, maxTokenTTL)}
	case s.Uses <= 0 || s.Uses > maxTokenUses:
		return &cluster.FieldError{Field: "uses", Problem: fmt.Sprintf("%d is not between 1 and %d", s.Uses, maxTokenUses)}
	}
	return nil
}

// CreateToken makes a token and stores its hash.
func (j *Joiner) CreateToken(ctx context.Context, spec TokenSpec) (Token, TokenRecord, error) {
	if spec.TTL == 0 {
		spec.TTL = DefaultTokenTTL
	}
	if spec.Uses == 0 {
		spec.Uses = 1
	}
	if err := spec.check(); err != nil {
		return Token{}, TokenRecord{}, err
	}
	token, err := newToken(j.Authority.Pin(), spec.Endpoints)
	if err != nil {
		return Token{}, TokenRecord{}, err
	}
	record := TokenRecord{
		ID:      token.ID,
		Hash:    hashSecret(token.Secret),
		Expires: j.now().Add(spec.TTL),
		Uses:    spec.Uses,
		By:      spec.By,
	}
	if err := j.Tokens.CreateToken(ctx, record); err != nil {
		return Token{}, TokenRecord{}, fmt.Errorf("store %s: %w", token, err)
	}
	return token, record, nil
}

// Joined is a node's new certificate.
type Joined struct {
	Node    cluster.NodeID
	CertPEM []byte
	CAPEM   []byte
}

// Join uses a token once and signs the request for a node of a new UUID, or of the former one when the same key asks again.
func (j *Joiner) Join(ctx context.Context, id, secret string, csrPEM []byte) (Joined, error) {
	request, err := parseRequest(csrPEM) // a bad request costs no use
	if err != nil {
		return Joined{}, err
	}
	sum := sha256.Sum256(request.RawSubjectPublicKeyInfo)
	key, fresh := hex.EncodeToString(sum[:]), cluster.NodeID(uuid.NewString())
	var node cluster.NodeID
	err = j.Tokens.UpdateToken(ctx, id, func(record *TokenRecord) (err error) {
		node, err = record.use(secret, key, fresh, j.now())
		return err
	})
	if errors.Is(err, cluster.ErrNotFound) { // said as of a wrong secret
		err = errBadSecret()
	}
	if err != nil {
		return Joined{}, fmt.Errorf("join with token %.25q: %w", tokenPrefix+id, err)
	}
	cert, err := j.Authority.SignNode(csrPEM, node)
	return Joined{Node: node, CertPEM: cert, CAPEM: j.Authority.CertificatePEM()}, err
}

// use takes one use of the token for the node with that key.
func (r *TokenRecord) use(secret, key string, fresh cluster.NodeID, now time.Time) (cluster.NodeID, error) {
	switch {
	case subtle.ConstantTimeCompare(hashSecret(secret), r.Hash) != 1:
		return "", errBadSecret()
	case !now.Before(r.Expires):
		return "", fmt.Errorf("%w: %w since %s; make another with flocker token create",
			cluster.ErrForbidden, ErrTokenExpired, r.Expires.UTC().Format(time.RFC3339))
	}
	if node, again := r.Joined[key]; again {
		return node, nil
	}
	if r.Uses <= 0 {
		return "", fmt.Errorf("%w: %w; make another with flocker token create", cluster.ErrForbidden, ErrTokenUsed)
	}
	r.Uses--
	if r.Joined == nil {
		r.Joined = map[string]cluster.NodeID{}
	}
	r.Joined[key] = fresh
	return fresh, nil
}

func errBadSecret() error {
	return fmt.Errorf("%w: this cluster made no such token", cluster.ErrForbidden)
}

func (j *Joiner) now() time.Time {
	if j.Now != nil {
		return j.Now()
	}
	return time.Now()
}
