// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

type movePath struct {
	Move string `path:"move" doc:"UUID, or its first characters"`
}

func (v *v2) registerMoves() {
	const path, one, tag = "/v2/moves", "/v2/moves/{move}", "Moves"
	register(v, route{method: http.MethodGet, path: path, id: "list-moves", summary: "List moves, newest first", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]MoveInfo, error) { return v.Moves.ListMoves(ctx) })
	register(v, route{method: http.MethodPost, path: path, id: "create-move", summary: "Move an application with its data", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *body[MoveRequest]) (cluster.Move, error) {
			return v.Moves.CreateMove(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodPost, path: "/v2/preflight", id: "preflight-move", summary: "What a move would meet and take; nothing is changed", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *body[MoveRequest]) (PreflightReport, error) {
			return v.Moves.PreflightMove(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodGet, path: one, id: "get-move", summary: "Show a move", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *movePath) (MoveInfo, error) { return v.Moves.GetMove(ctx, in.Move) })
	register(v, route{method: http.MethodPost, path: one + "/cancel", id: "cancel-move", summary: "Cancel a move before its hand-over", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *movePath) (cluster.Move, error) {
			return v.Moves.CancelMove(ctx, by(ctx), in.Move)
		})
	register(v, route{method: http.MethodPost, path: one + "/take-back", id: "take-move-back", summary: "Give a move that is handed over, but not committed, back to its source", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *movePath) (cluster.Move, error) {
			return v.Recovery.TakeBackMove(ctx, by(ctx), in.Move)
		})
	registerStream(v, route{method: http.MethodGet, path: one + "/watch", id: "watch-move", summary: "Follow a move and its progress until it has ended", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *movePath, send func(MoveInfo) error) error {
			return v.Moves.WatchMove(ctx, in.Move, send)
		})
}
