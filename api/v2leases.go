// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

func (v *v2) registerLeases() {
	const path, tag = "/v2/leases", "Leases"
	register(v, route{method: http.MethodGet, path: path, id: "list-leases", summary: "List the leases of datasets", tag: tag, role: pki.RoleRead},
		func(ctx context.Context, _ *nothing) ([]cluster.Lease, error) { return v.Leases.ListLeases(ctx) })
	register(v, route{method: http.MethodPost, path: path, id: "acquire-lease", summary: "Hold a dataset on its node", tag: tag, role: pki.RoleOperate, status: http.StatusCreated},
		func(ctx context.Context, in *body[LeaseRequest]) (cluster.Lease, error) {
			return v.Leases.AcquireLease(ctx, by(ctx), in.Body)
		})
	register(v, route{method: http.MethodDelete, path: path + "/{dataset}", id: "release-lease", summary: "Let go of a dataset, whoever holds it", tag: tag, role: pki.RoleOperate},
		func(ctx context.Context, in *datasetPath) (cluster.Lease, error) {
			return v.Leases.ReleaseLease(ctx, by(ctx), in.Dataset)
		})
}
