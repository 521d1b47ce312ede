// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

const maxQuestion = 1 << 20

// handler serves the store's API. Nodes make, attach, detach and evict, each as the machine that its certificate names;
// users look, and those who may fence evict.
type handler struct {
	store *Store
	log   *slog.Logger
}

// Handler serves a store's API.
func Handler(store *Store, log *slog.Logger) http.Handler {
	h := handler{store, log}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/volumes", h.serve(reads, h.list))
	mux.Handle("GET /v1/volumes/{id}", h.serve(reads, h.show))
	mux.Handle("POST /v1/volumes", h.serve(works, h.create))
	mux.Handle("DELETE /v1/volumes/{id}", h.serve(works, h.destroy))
	mux.Handle("POST /v1/volumes/{id}/attach", h.serve(works, h.attach))
	mux.Handle("POST /v1/volumes/{id}/detach", h.serve(fences, h.detach))
	mux.Handle("POST /v1/volumes/{id}/grow", h.serve(works, h.grow))
	h.serveSnapshots(mux)
	return mux
}

// may says whether somebody may do something.
type may func(pki.Identity) bool

func works(id pki.Identity) bool { return id.Kind == pki.KindNode }

func fences(id pki.Identity) bool {
	return works(id) || id.Kind == pki.KindControl || id.Kind == pki.KindUser && id.Role.Includes(pki.RoleAdmin)
}

func reads(id pki.Identity) bool {
	return works(id) || id.Kind == pki.KindControl || id.Kind == pki.KindPlugin || id.Kind == pki.KindUser && id.Role.Includes(pki.RoleRead)
}

// serve checks who asks, and writes what is answered.
func (h handler) serve(allowed may, do func(pki.Identity, *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := h.answer(allowed, do, r)
		client.TellSnapshots(w, h.store.CanSnapshot())
		if err != nil {
			h.log.Warn("refused", "request", r.Method+" "+r.URL.Path, "from", r.RemoteAddr, "error", err)
			client.WriteError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the peer is gone when this fails, and asks again
	})
}

func (h handler) answer(allowed may, do func(pki.Identity, *http.Request) (any, error), r *http.Request) (any, error) {
	if r.TLS == nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrForbidden, pki.ErrNoCertificate)
	}
	id, err := pki.IdentityOf(*r.TLS)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrForbidden, err)
	}
	if !allowed(id) {
		return nil, fmt.Errorf("%w: %s may not do this", cluster.ErrForbidden, id)
	}
	return do(id, r)
}

func (h handler) list(pki.Identity, *http.Request) (any, error) { return h.store.List(), nil }

func (h handler) show(_ pki.Identity, r *http.Request) (any, error) {
	return h.store.Volume(r.PathValue("id"))
}

func (h handler) create(_ pki.Identity, r *http.Request) (any, error) {
	spec, err := read[client.Spec](r)
	if err != nil {
		return nil, err
	}
	return h.store.Create(spec)
}

func (h handler) destroy(_ pki.Identity, r *http.Request) (any, error) {
	return nil, h.store.Destroy(r.PathValue("id"))
}

func (h handler) attach(id pki.Identity, r *http.Request) (any, error) {
	e, err := h.store.Attach(r.Context(), r.PathValue("id"), string(id.Node))
	if err == nil {
		h.log.Info("attached", "volume", r.PathValue("id"), "machine", id.Node, "attachment", e.Attachment, "port", e.Port)
	}
	return e, err
}

func (h handler) detach(id pki.Identity, r *http.Request) (any, error) {
	q, err := read[client.DetachRequest](r)
	if err != nil {
		return nil, err
	}
	if err := h.store.Detach(r.Context(), r.PathValue("id"), q); err != nil {
		return nil, err
	}
	h.log.Info("detached", "volume", r.PathValue("id"), "machine", q.Machine, "attachment", q.Attachment, "by", id.String())
	return nil, nil
}

func (h handler) grow(_ pki.Identity, r *http.Request) (any, error) {
	q, err := read[client.GrowRequest](r)
	if err != nil {
		return nil, err
	}
	return nil, h.store.Grow(r.Context(), r.PathValue("id"), q.Size)
}

func read[T any](r *http.Request) (T, error) {
	var q T
	in := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxQuestion))
	in.DisallowUnknownFields()
	if err := in.Decode(&q); err != nil {
		return q, fmt.Errorf("request: %w: %w", cluster.ErrInvalid, err)
	}
	return q, nil
}
