// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"net/http"

	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/pki"
)

// serveSnapshots adds what is about snapshots. A machine asks for its own attachments only.
func (h handler) serveSnapshots(mux *http.ServeMux) {
	mux.Handle("POST /v1/volumes/{id}/snapshots", h.serve(works, h.snapshot))
	mux.Handle("DELETE /v1/volumes/{id}/snapshots/{name}", h.serve(works, h.deleteSnapshot))
	mux.Handle("POST /v1/volumes/{id}/clone", h.serve(works, h.clone))
	mux.Handle("POST /v1/volumes/{id}/differs", h.serve(works, h.differs))
	mux.Handle("POST /v1/volumes/{id}/rollback", h.serve(works, h.rollback))
}

func (h handler) snapshot(_ pki.Identity, r *http.Request) (any, error) {
	q, err := read[client.SnapshotRequest](r)
	if err != nil {
		return nil, err
	}
	return h.store.Snapshot(r.PathValue("id"), q.Name)
}

func (h handler) deleteSnapshot(_ pki.Identity, r *http.Request) (any, error) {
	return nil, h.store.DeleteSnapshot(r.PathValue("id"), r.PathValue("name"))
}

func (h handler) clone(_ pki.Identity, r *http.Request) (any, error) {
	q, err := read[client.CloneRequest](r)
	if err != nil {
		return nil, err
	}
	return h.store.Clone(r.PathValue("id"), q)
}

func (h handler) differs(id pki.Identity, r *http.Request) (any, error) {
	q, err := read[client.PointRequest](r)
	if err != nil {
		return nil, err
	}
	q.Machine = string(id.Node)
	differs, err := h.store.Differs(r.PathValue("id"), q)
	return client.Difference{Differs: differs}, err
}

func (h handler) rollback(id pki.Identity, r *http.Request) (any, error) {
	q, err := read[client.PointRequest](r)
	if err != nil {
		return nil, err
	}
	q.Machine = string(id.Node)
	if err := h.store.Rollback(r.Context(), r.PathValue("id"), q); err != nil {
		return nil, err
	}
	h.log.Info("rolled back", "volume", r.PathValue("id"), "machine", id.Node, "snapshot", q.Snapshot)
	return nil, nil
}
