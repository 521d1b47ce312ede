// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

type datasetPath struct {
	Dataset string `path:"dataset" doc:"UUID or name"`
}

func (v *v2) registerDatasets() {
	const path, one, tag = "/v2/datasets", "/v2/datasets/{dataset}", "Datasets"
	register(v, route{method: http.MethodGet, path: path, id: "list-datasets", summary: "List datasets", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]DatasetInfo, error) { return v.Datasets.ListDatasets(ctx) })
	register(v, route{method: http.MethodPost, path: path, id: "create-dataset", summary: "Create a dataset", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *body[DatasetRequest]) (cluster.Dataset, error) {
			return v.Datasets.CreateDataset(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodGet, path: one, id: "get-dataset", summary: "Show a dataset", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, in *datasetPath) (DatasetInfo, error) {
			return v.Datasets.GetDataset(ctx, in.Dataset)
		})
	register(v, route{method: http.MethodPatch, path: one, id: "change-dataset", summary: "Change a dataset's size", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *struct {
			Dataset string `path:"dataset"`
			Body    DatasetChange
		},
		) (cluster.Dataset, error) {
			return v.Datasets.ChangeDataset(ctx, by(ctx), in.Dataset, in.Body)
		})
	register(v, route{method: http.MethodDelete, path: one, id: "delete-dataset", summary: "Destroy a dataset, everywhere", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *datasetPath) (cluster.Dataset, error) {
			return v.Datasets.DeleteDataset(ctx, by(ctx), in.Dataset)
		})
	register(v, route{method: http.MethodPost, path: one + "/clones", id: "clone-dataset", summary: "Make a new dataset of a dataset's content", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *struct {
			Dataset string `path:"dataset" doc:"UUID or name"`
			Body    CloneRequest
		},
		) (cluster.Dataset, error) {
			return v.Datasets.CloneDataset(ctx, by(ctx), in.Dataset, in.Body)
		})
	register(v, route{method: http.MethodPost, path: one + "/copies", id: "copy-dataset", summary: "Make a new dataset of a dataset's files, in another back end", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *struct {
			Dataset string `path:"dataset" doc:"UUID or name"`
			Body    CopyRequest
		},
		) (cluster.Dataset, error) {
			return v.Datasets.CopyDataset(ctx, by(ctx), in.Dataset, in.Body)
		})
}
