// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/pki"
)

func (v *v2) registerSnapshots() {
	const path, of, tag = "/v2/snapshots", "/v2/datasets/{dataset}/snapshots", "Snapshots"
	register(v, route{method: http.MethodGet, path: path, id: "list-snapshots", summary: "List the snapshots of all datasets", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]SnapshotInfo, error) {
			return v.Snapshots.ListSnapshots(ctx, "")
		})
	register(v, route{method: http.MethodPost, path: path, id: "create-snapshots", summary: "Take a snapshot of a dataset, or of all of an application at one instant", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *body[SnapshotRequest]) ([]SnapshotInfo, error) {
			return v.Snapshots.CreateSnapshots(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodGet, path: of, id: "list-dataset-snapshots", summary: "List the snapshots of a dataset", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *datasetPath) ([]SnapshotInfo, error) {
			return v.Snapshots.ListSnapshots(ctx, in.Dataset)
		})
	register(v, route{method: http.MethodDelete, path: of + "/{snapshot}", id: "delete-snapshot", summary: "Remove a snapshot", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *struct {
			Dataset  string `path:"dataset" doc:"UUID or name"`
			Snapshot string `path:"snapshot" doc:"UUID or name"`
		},
		) (SnapshotInfo, error) {
			return v.Snapshots.DeleteSnapshot(ctx, by(ctx), in.Dataset, in.Snapshot)
		})
	register(v, route{method: http.MethodPost, path: "/v2/datasets/{dataset}/rollback", id: "roll-back-dataset", summary: "Make a dataset what it was in a snapshot", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *struct {
			Dataset string `path:"dataset" doc:"UUID or name"`
			Body    RollbackRequest
		},
		) (RollbackReply, error) {
			return v.Snapshots.RollBack(ctx, by(ctx), in.Dataset, in.Body)
		})
}
