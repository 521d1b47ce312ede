// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// HolderDocker is the holder of leases for containers that Docker runs and Flocker does not.
const HolderDocker = "docker"

// agentVolumes is what a node may ask of the control service for containers on it that are not applications: it makes datasets
// on itself, takes over idle ones, holds its own, and destroys unused ones. What applications use is out of its reach.
type agentVolumes interface {
	GetDataset(ctx context.Context, ref string) (DatasetInfo, error)
	CreateDataset(ctx context.Context, by string, r DatasetRequest) (cluster.Dataset, error)
	CloneDataset(ctx context.Context, by, ref string, r CloneRequest) (cluster.Dataset, error)
	DeleteVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Dataset, error)
	MoveVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Move, error)
	volumeLeases
}

// volumeLeases are those that a node holds for Docker.
type volumeLeases interface {
	HoldVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Lease, error)
	ReleaseVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Lease, error)
}

const volumesPath = "/agent/v1/volumes"

// registerVolumes adds what a node's volume plug-in asks for.
func (h agentHandler) registerVolumes(mux *http.ServeMux) {
	const one = volumesPath + "/{dataset}"
	mux.HandleFunc("GET "+one, asked(h, func(ctx context.Context, _ pki.Identity, ref string) (DatasetInfo, error) {
		return h.control.GetDataset(ctx, ref)
	}))
	mux.HandleFunc("DELETE "+one, asked(h, func(ctx context.Context, id pki.Identity, ref string) (cluster.Dataset, error) {
		return h.control.DeleteVolume(ctx, id.Node, ref)
	}))
	mux.HandleFunc("POST "+one+"/move", asked(h, func(ctx context.Context, id pki.Identity, ref string) (cluster.Move, error) {
		return h.control.MoveVolume(ctx, id.Node, ref)
	}))
	mux.HandleFunc("PUT "+one+"/lease", asked(h, func(ctx context.Context, id pki.Identity, ref string) (cluster.Lease, error) {
		return h.control.HoldVolume(ctx, id.Node, ref)
	}))
	mux.HandleFunc("DELETE "+one+"/lease", asked(h, func(ctx context.Context, id pki.Identity, ref string) (cluster.Lease, error) {
		return h.control.ReleaseVolume(ctx, id.Node, ref)
	}))
	mux.HandleFunc("POST "+volumesPath, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, h.access.node, func(id pki.Identity, q DatasetRequest) (cluster.Dataset, error) {
			if q.Node != string(id.Node) {
				return cluster.Dataset{}, h.access.refuse(id, fmt.Errorf("it makes datasets on itself only, not on %q", q.Node))
			}
			return h.control.CreateDataset(r.Context(), id.String(), q)
		})
	})
	mux.HandleFunc("POST "+one+"/clones", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, h.access.node, func(id pki.Identity, q CloneRequest) (cluster.Dataset, error) {
			return h.control.CloneDataset(r.Context(), id.String(), r.PathValue("dataset"), q)
		})
	})
}

// asked answers a node's request that has no body.
func asked[A any](h agentHandler, do func(ctx context.Context, id pki.Identity, ref string) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := h.access.node(r)
		if err != nil {
			WriteError(w, err)
			return
		}
		a, err := do(r.Context(), id, r.PathValue("dataset"))
		if err != nil {
			WriteError(w, err)
			return
		}
		writeJSON(w, a)
	}
}

func volume[A any](ctx context.Context, c *AgentClient, method, ref, what string, in any) (A, error) {
	var out A
	path := volumesPath
	if ref != "" {
		path += "/" + url.PathEscape(ref) + what
	}
	repeatable := method == http.MethodGet || method == http.MethodPut
	err := c.control.do(ctx, call{method: method, path: path, body: in, repeatable: repeatable}, &out)
	return out, err
}

// Volume shows a dataset, by UUID or name.
func (c *AgentClient) Volume(ctx context.Context, ref string) (DatasetInfo, error) {
	return volume[DatasetInfo](ctx, c, http.MethodGet, ref, "", nil)
}

// CreateVolume makes a dataset on this node.
func (c *AgentClient) CreateVolume(ctx context.Context, r DatasetRequest) (cluster.Dataset, error) {
	return volume[cluster.Dataset](ctx, c, http.MethodPost, "", "", r)
}

// CloneVolume makes a dataset of another's content.
func (c *AgentClient) CloneVolume(ctx context.Context, ref string, r CloneRequest) (cluster.Dataset, error) {
	return volume[cluster.Dataset](ctx, c, http.MethodPost, ref, "/clones", r)
}

// DeleteVolume destroys a dataset that nobody uses or holds.
func (c *AgentClient) DeleteVolume(ctx context.Context, ref string) (cluster.Dataset, error) {
	return volume[cluster.Dataset](ctx, c, http.MethodDelete, ref, "", nil)
}

// MoveVolume moves a dataset that no application uses to this node.
func (c *AgentClient) MoveVolume(ctx context.Context, ref string) (cluster.Move, error) {
	return volume[cluster.Move](ctx, c, http.MethodPost, ref, "/move", nil)
}

// HoldVolume leases a dataset on this node for Docker's containers. It may be repeated.
func (c *AgentClient) HoldVolume(ctx context.Context, ref string) (cluster.Lease, error) {
	return volume[cluster.Lease](ctx, c, http.MethodPut, ref, "/lease", nil)
}

// ReleaseVolume ends that lease. It may be repeated.
func (c *AgentClient) ReleaseVolume(ctx context.Context, ref string) (cluster.Lease, error) {
	return volume[cluster.Lease](ctx, c, http.MethodDelete, ref, "/lease", nil)
}
