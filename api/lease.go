// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/flocker-project/flocker/cluster"
)

// LeaseRequest asks for a hold of a dataset on the node that owns it. The same request again is success.
type LeaseRequest struct {
	Dataset string `json:"dataset" doc:"UUID or name"`
	Node    string `json:"node" doc:"the dataset's owner: name, UUID, prefix of the UUID, or address"`
	Holder  string `json:"holder" doc:"who holds it, as it is named to others"`
}

// leases is the part of the control service for leases.
type leases interface {
	ListLeases(ctx context.Context) ([]cluster.Lease, error)
	AcquireLease(ctx context.Context, by string, r LeaseRequest) (cluster.Lease, error)
	ReleaseLease(ctx context.Context, by, dataset string) (cluster.Lease, error)
}
