// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

type nodePath struct {
	Node string `path:"node" doc:"name, UUID, prefix of the UUID, or address"`
}

// recovery is the part of the control service for operators whom something has failed.
type recovery interface {
	FenceNode(ctx context.Context, by, ref string, r FenceRequest) (FenceReply, error)
	FailOver(ctx context.Context, by string, r FailOverRequest) (FailOverReply, error)
	TakeBackMove(ctx context.Context, by, ref string) (cluster.Move, error)
	ConfirmRestore(ctx context.Context, by string) (Status, error)
}

func (v *v2) registerNodes() {
	const path, one, tag = "/v2/nodes", "/v2/nodes/{node}", "Nodes"
	register(v, route{method: http.MethodGet, path: path, id: "list-nodes", summary: "List nodes", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]NodeInfo, error) { return v.Nodes.ListNodes(ctx) })
	register(v, route{method: http.MethodGet, path: one + "/storage", id: "node-storage", summary: "Look at a node's storage now: what works, what is missing, and the remedy", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *nodePath) (StorageReport, error) {
			return v.Nodes.NodeStorage(ctx, in.Node)
		})
	register(v, route{method: http.MethodDelete, path: one, id: "forget-node", summary: "Forget a node that is gone and owns nothing", tag: tag, role: pki.RoleAdmin},
		func(ctx context.Context, in *nodePath) (struct{}, error) {
			return struct{}{}, v.Nodes.ForgetNode(ctx, by(ctx), in.Node)
		})
	register(v, route{method: http.MethodPost, path: one + "/fence", id: "fence-node", summary: "Testify that a node is switched off", tag: tag, role: pki.RoleAdmin},
		func(ctx context.Context, in *struct {
			Node string `path:"node"`
			Body FenceRequest
		},
		) (FenceReply, error) {
			return v.Recovery.FenceNode(ctx, by(ctx), in.Node, in.Body)
		})
	register(v, route{method: http.MethodPost, path: "/v2/fail-overs", id: "fail-over", summary: "Take data over from a fenced node, from a replica", tag: tag, role: pki.RoleAdmin},
		func(ctx context.Context, in *body[FailOverRequest]) (FailOverReply, error) {
			return v.Recovery.FailOver(ctx, by(ctx), in.Body)
		})
}
