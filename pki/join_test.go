// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// memTokens keeps tokens in memory, encoded, so that nobody holds on to a record.
type memTokens struct {
	mu      sync.Mutex
	records map[string][]byte
}

func newMemTokens() *memTokens { return &memTokens{records: map[string][]byte{}} }

func (m *memTokens) CreateToken(_ context.Context, record pki.TokenRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[record.ID] != nil {
		return cluster.ErrExists
	}
	text, err := json.Marshal(record)
	m.records[record.ID] = text
	return err
}

func (m *memTokens) UpdateToken(_ context.Context, id string, change func(*pki.TokenRecord) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[id] == nil {
		return cluster.ErrNotFound
	}
	var record pki.TokenRecord
	if err := json.Unmarshal(m.records[id], &record); err != nil {
		return err
	}
	if err := change(&record); err != nil {
		return err
	}
	text, err := json.Marshal(record)
	m.records[id] = text
	return err
}

// desk is a Joiner with a clock of its own.
type desk struct {
	*pki.Joiner
	world world
	store *memTokens
	now   time.Time
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{world: newWorld(t), store: newMemTokens(), now: time.Now()}
	d.Joiner = &pki.Joiner{Authority: d.world.Authority, Tokens: d.store, Now: func() time.Time { return d.now }}
	return d
}

func (d *desk) token(t *testing.T, spec pki.TokenSpec) pki.Token {
	t.Helper()
	spec.Endpoints = []string{"10.0.0.1:4523"}
	token, _, err := d.CreateToken(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func request(t *testing.T, dir string) []byte {
	t.Helper()
	csr, err := pki.RequestNode(dir, "node-00000000-0000-4000-8000-000000000000")
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestJoiningMakesANode(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	token := d.token(t, pki.TokenSpec{})
	joined, err := d.Join(t.Context(), token.ID, token.Secret, request(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.CheckJoined(joined, pki.FilesIn(dir, pki.NodeName).Key, token.Pin); err != nil {
		t.Errorf("CheckJoined = %v", err)
	}
	if joined.Node == "00000000-0000-4000-8000-000000000000" {
		t.Error("the node chose its own identity")
	}
	if text := string(d.store.records[token.ID]); strings.Contains(text, token.Secret) {
		t.Errorf("the secret is stored: %s", text)
	}
}

func TestTokensAreRefused(t *testing.T) {
	d := newDesk(t)
	once, csr := d.token(t, pki.TokenSpec{}), request(t, t.TempDir())
	if _, err := d.Join(t.Context(), once.ID, once.Secret, csr); err != nil {
		t.Fatal(err)
	}
	fresh := d.token(t, pki.TokenSpec{Uses: 2})
	for _, tt := range []struct {
		name       string
		id, secret string
		later      time.Duration
		want       error
		uses       int
	}{
		{"used up", once.ID, once.Secret, 0, pki.ErrTokenUsed, 1},
		{"unknown", "zzzzzzzz", fresh.Secret, 0, cluster.ErrForbidden, 2},
		{"of another id", fresh.ID, once.Secret, 0, cluster.ErrForbidden, 2},
		{"without secret", fresh.ID, "", 0, cluster.ErrForbidden, 2},
		{"expired", fresh.ID, fresh.Secret, time.Hour, pki.ErrTokenExpired, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := maps.Clone(d.store.records)
			d.now = d.now.Add(tt.later)
			_, err := d.Join(t.Context(), tt.id, tt.secret, request(t, t.TempDir()))
			if !errors.Is(err, tt.want) || !errors.Is(err, cluster.ErrForbidden) {
				t.Errorf("Join = %v; want %v", err, tt.want)
			}
			if !maps.EqualFunc(before, d.store.records, func(a, b []byte) bool { return string(a) == string(b) }) {
				t.Error("a refusal changed what is stored")
			}
		})
	}
}

// Nothing tells a stranger which ids of tokens exist.
func TestUnknownTokenAndWrongSecretLookTheSame(t *testing.T) {
	d := newDesk(t)
	token, csr := d.token(t, pki.TokenSpec{}), request(t, t.TempDir())
	_, unknown := d.Join(t.Context(), "zzzzzzzz", "x", csr)
	_, wrong := d.Join(t.Context(), token.ID, "x", csr)
	if got, want := strings.ReplaceAll(unknown.Error(), "zzzzzzzz", token.ID), wrong.Error(); got != want {
		t.Errorf("unknown token: %q; wrong secret: %q", got, want)
	}
}

// A node whose answer was lost asks again with the same key: it is the same node, and nothing more is used up.
func TestAskingAgainIsTheSameNode(t *testing.T) {
	d := newDesk(t)
	token, csr := d.token(t, pki.TokenSpec{}), request(t, t.TempDir())
	first, err := d.Join(t.Context(), token.ID, token.Secret, csr)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.Join(t.Context(), token.ID, token.Secret, csr)
	if err != nil || second.Node != first.Node {
		t.Errorf("asking again = %s, %v; want %s", second.Node, err, first.Node)
	}
}

func TestATokenMakesNoMoreNodesThanItsUses(t *testing.T) {
	d := newDesk(t)
	token := d.token(t, pki.TokenSpec{Uses: 3})
	var nodes sync.Map
	var wg sync.WaitGroup
	for range 8 {
		csr := request(t, t.TempDir())
		wg.Go(func() {
			if joined, err := d.Join(t.Context(), token.ID, token.Secret, csr); err == nil {
				nodes.Store(joined.Node, true)
			}
		})
	}
	wg.Wait()
	count := 0
	nodes.Range(func(any, any) bool { count++; return true })
	if count != 3 {
		t.Errorf("a token of 3 uses made %d nodes", count)
	}
}

func TestBadRequestsCostNoUse(t *testing.T) {
	d := newDesk(t)
	token, good := d.token(t, pki.TokenSpec{}), request(t, t.TempDir())
	broken := []byte(strings.Replace(string(good), "M", "N", 1))
	for _, csr := range [][]byte{nil, []byte("x"), broken, append(good, good...), d.world.CertificatePEM()} {
		if _, err := d.Join(t.Context(), token.ID, token.Secret, csr); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Join with the request %.30q = %v; want %v", csr, err, cluster.ErrInvalid)
		}
	}
	if _, err := d.Join(t.Context(), token.ID, token.Secret, good); err != nil {
		t.Errorf("the token is spoilt: %v", err)
	}
}

func TestTokensHaveBounds(t *testing.T) {
	d := newDesk(t)
	endpoints := []string{"a:1"}
	for _, spec := range []pki.TokenSpec{
		{TTL: -1, Endpoints: endpoints},
		{TTL: 365 * 24 * time.Hour, Endpoints: endpoints},
		{Uses: -1, Endpoints: endpoints},
		{Uses: 1 << 30, Endpoints: endpoints},
		{},
		{Endpoints: []string{"a b:1"}},
	} {
		if _, _, err := d.CreateToken(t.Context(), spec); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("CreateToken(%+v) = %v; want %v", spec, err, cluster.ErrInvalid)
		}
	}
}

func TestAnswersOfOthersAreNotKept(t *testing.T) {
	d, other, dir := newDesk(t), newDesk(t), t.TempDir()
	csr, key := request(t, dir), pki.FilesIn(dir, pki.NodeName).Key
	join := func(d *desk, csr []byte) pki.Joined {
		token := d.token(t, pki.TokenSpec{})
		joined, err := d.Join(t.Context(), token.ID, token.Secret, csr)
		if err != nil {
			t.Fatal(err)
		}
		return joined
	}
	foreign, wrongKey, wrongNode := join(other, csr), join(d, request(t, t.TempDir())), join(d, csr)
	wrongNode.Node = node1
	for name, joined := range map[string]pki.Joined{"authority": foreign, "key": wrongKey, "node": wrongNode} {
		if err := pki.CheckJoined(joined, key, d.world.Pin()); err == nil {
			t.Errorf("an answer with another %s is taken", name)
		}
	}
}
