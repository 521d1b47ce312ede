// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers with h, and counts.
type server struct {
	*httptest.Server
	asked atomic.Int32
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return s.Listener.Addr().String() }

func trusting(servers ...*server) *tls.Config {
	pool := x509.NewCertPool()
	for _, s := range servers {
		pool.AddCert(s.Certificate())
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func broken(w http.ResponseWriter, _ *http.Request) {
	panic(http.ErrAbortHandler) // the connection ends without an answer
}

func fine(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{}`)) // the test fails elsewhere when this does
}

func TestErrorsMeanTheSameOnBothSides(t *testing.T) {
	for _, sentinel := range []error{
		cluster.ErrNotFound, cluster.ErrExists, cluster.ErrConflict, cluster.ErrInvalid, cluster.ErrForbidden,
		cluster.ErrUnavailable, cluster.ErrGone, cluster.ErrPrecondition,
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			api.WriteError(w, fmt.Errorf("dataset x: %w", sentinel))
		})
		c := api.NewClient([]string{s.host()}, trusting(s))
		_, err := c.CreateDataset(t.Context(), api.DatasetRequest{})
		if !errors.Is(err, sentinel) {
			t.Errorf("%v arrived as %v", sentinel, err)
		}
		for _, other := range []error{cluster.ErrNotFound, cluster.ErrExists, cluster.ErrConflict, cluster.ErrForbidden} {
			if !errors.Is(sentinel, other) && errors.Is(err, other) {
				t.Errorf("%v arrived as %v too", sentinel, other)
			}
		}
		c.Close()
	}
}

func TestARefusalCarriesFieldsAndTheMove(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		api.WriteError(w, &api.MoveError{
			Move: cluster.Move{ID: "m", Phase: cluster.MoveAborted},
			Err:  errors.Join(&cluster.FieldError{Field: "a", Problem: "is bad"}, fmt.Errorf("more: %w", &cluster.FieldError{Field: "b", Problem: "too"})),
		})
	})
	c := api.NewAgentClient([]string{s.host()}, trusting(s))
	defer c.Close()
	_, err := c.Transition(t.Context(), "m", api.MoveTransition{})
	if m, ok := api.CurrentMove(err); !ok || m.Phase != cluster.MoveAborted {
		t.Errorf("got %+v, %v of %v", m, ok, err)
	}
	if p := new(api.Problem); !errors.As(err, &p) || len(p.Fields) != 2 || !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("got %+v", err)
	}
}

func TestOnlyWhatMayBeDoneTwiceIsAskedOfAnother(t *testing.T) {
	bad, good := serve(t, broken), serve(t, fine)
	c := api.NewClient([]string{nobody(t), bad.host(), good.host()}, trusting(bad, good))
	defer c.Close()
	_, err := c.CreateMove(t.Context(), api.MoveRequest{})
	if !errors.Is(err, cluster.ErrUnavailable) || good.asked.Load() != 0 {
		t.Errorf("a move whose outcome is unknown was asked for again (%d): %v", good.asked.Load(), err)
	}
	if _, err := c.Status(t.Context()); err != nil || good.asked.Load() != 1 {
		t.Errorf("asked %d times: %v", good.asked.Load(), err)
	}
	tried := bad.asked.Load()
	if _, err := c.CreateMove(t.Context(), api.MoveRequest{}); err != nil || bad.asked.Load() != tried {
		t.Errorf("the one that answered last is not asked first: %v", err)
	}
}

func TestAnAbortIsAskedOfEveryEndpoint(t *testing.T) {
	bad, good := serve(t, broken), serve(t, fine)
	c := api.NewAgentClient([]string{bad.host(), good.host()}, trusting(bad, good))
	defer c.Close()
	if _, err := c.Transition(t.Context(), "m", api.MoveTransition{Action: api.ActionHandOver}); !errors.Is(err, cluster.ErrUnavailable) || good.asked.Load() != 0 {
		t.Errorf("a hand-over was asked for twice: %v", err)
	}
	if _, err := c.Transition(t.Context(), "m", api.MoveTransition{Action: api.ActionAbort}); err != nil || good.asked.Load() != 1 {
		t.Errorf("the abort was not: %v", err)
	}
}

func TestAnswersThatAreNoneOfOursAreErrors(t *testing.T) {
	for _, answer := range []string{"", "<html>", `{"nodes":5}`, `[`} {
		for _, code := range []int{200, 418, 502} {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				_, _ = w.Write([]byte(answer)) // the test fails elsewhere when this does
			})
			c := api.NewClient([]string{s.host()}, trusting(s))
			if _, err := c.Status(t.Context()); err == nil {
				t.Errorf("%d %q was taken", code, answer)
			}
			c.Close()
		}
	}
}

func TestAStreamThatBreaksIsUnavailable(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{}\n{\"kind\":\"changed\",\"text\":\"x\"}\n{\"kind\"")) // cut in the middle
	})
	c := api.NewClient([]string{s.host()}, trusting(s))
	defer c.Close()
	n := 0
	err := c.Events(t.Context(), 0, func(api.Event) error { n++; return nil })
	if !errors.Is(err, cluster.ErrUnavailable) || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Events(ctx, 0, nil); err == nil {
		t.Error("an ended context is no error")
	}
}
