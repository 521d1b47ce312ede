// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

func (v *v2) registerOverview() {
	const tag = "Cluster"
	register(v, route{method: http.MethodGet, path: "/v2/status", id: "status", summary: "Everything at a glance, and what is pending and why", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) (Status, error) { return v.Overview.Status(ctx) })
	register(v, route{method: http.MethodGet, path: "/v2/version", id: "version", summary: "What runs the cluster", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) (Version, error) { return v.Overview.Version(ctx) })
	register(v, route{method: http.MethodPost, path: "/v2/confirm-restore", id: "confirm-restore", summary: "Let agents act on a store that was restored from a backup", tag: tag, role: pki.RoleAdmin},
		func(ctx context.Context, _ *nothing) (Status, error) {
			return v.Recovery.ConfirmRestore(ctx, by(ctx))
		})
	registerStream(v, route{method: http.MethodGet, path: "/v2/events", id: "events", summary: "Follow what changes", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *struct {
			Since int64 `query:"since" minimum:"0" doc:"the revision after which to begin; 0 is now"`
		}, send func(Event) error,
		) error {
			return v.Overview.Events(ctx, cluster.Revision(in.Since), send)
		})
}

// joining is the part of the control service for new nodes.
type joining interface {
	CreateToken(ctx context.Context, by string, r TokenRequest) (Token, error)
	Join(ctx context.Context, r JoinRequest) (JoinReply, error)
}

func (v *v2) registerJoining() {
	const tag = "Joining"
	register(v, route{method: http.MethodPost, path: "/v2/tokens", id: "create-token", summary: "Make a token with which a host becomes a node", tag: tag, role: pki.RoleAdmin, status: http.StatusCreated},
		func(ctx context.Context, in *body[TokenRequest]) (Token, error) {
			return v.Joining.CreateToken(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodPost, path: "/v2/join", id: "join", summary: "Get a node's certificate for a token; needs no certificate", tag: tag, status: http.StatusCreated},
		func(ctx context.Context, in *body[JoinRequest]) (JoinReply, error) {
			return v.Joining.Join(ctx, in.Body)
		})
}
