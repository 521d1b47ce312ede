// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/flocker-project/flocker/cluster"
)

// DatasetRequest asks for a new dataset.
type DatasetRequest struct {
	ID       cluster.DatasetID `json:"id,omitempty" doc:"UUID; made up when empty"`
	Name     string            `json:"name,omitempty" doc:"unique in the cluster; the metadata's name when empty, else the id"`
	Node     string            `json:"node" doc:"the owner: name, UUID, prefix of the UUID, or address of a node"`
	Size     int64             `json:"size,omitempty" doc:"bytes; 0 is unlimited on peer-to-peer storage"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Profile  string            `json:"profile,omitempty" doc:"a profile of the node's back end, such as gold; the metadata's clusterhq:flocker:profile when empty"`
	Backend  string            `json:"backend,omitempty" doc:"a back end of the node; empty is its first"`
	Root     cluster.Root      `json:"root,omitzero" doc:"owner, group and mode of the folder that is made"`
}

// DatasetChange changes a dataset.
type DatasetChange struct {
	Size *int64 `json:"size,omitempty" doc:"new limit in bytes"`
}

// CloneRequest asks for a new dataset with the content that another one has, or had in a snapshot.
type CloneRequest struct {
	Name     string            `json:"name" doc:"the clone's, unique in the cluster"`
	Snapshot string            `json:"snapshot,omitempty" doc:"name or UUID; when empty one is taken, and goes when the clone is made"`
	Node     string            `json:"node,omitempty" doc:"one that has the snapshot; the dataset's owner when empty"`
	Metadata map[string]string `json:"metadata,omitempty" doc:"beside that of the dataset"`
}

// CopyRequest asks for a new dataset in another back end, with the files that a dataset has, or had in a snapshot.
type CopyRequest struct {
	Name     string            `json:"name" doc:"the copy's, unique in the cluster"`
	Backend  string            `json:"backend" doc:"another back end of the node that owns the dataset"`
	Snapshot string            `json:"snapshot,omitempty" doc:"name or UUID; when empty one is taken, and goes when the copy is whole"`
	Node     string            `json:"node,omitempty" doc:"the dataset's owner, the only one that can make it; that one when empty"`
	Size     int64             `json:"size,omitempty" doc:"bytes; when 0 the dataset's limit, and where it has none and the back end needs one, twice what is in use, at least 1 GiB"`
	Profile  string            `json:"profile,omitempty" doc:"a profile of the back end; none when empty, whatever the dataset has"`
	Metadata map[string]string `json:"metadata,omitempty" doc:"beside that of the dataset"`
}

// DatasetInfo is a dataset with what the nodes see of it.
type DatasetInfo struct {
	cluster.Dataset
	Path   string     `json:"path,omitempty" doc:"where the owner has it mounted"`
	UsedBy []string   `json:"used_by,omitempty" doc:"applications"`
	Copies []CopyInfo `json:"copies,omitempty" doc:"on every node that has one, the owner's first"`
	// Lease is who holds it where it is.
	Lease *cluster.Lease `json:"lease,omitempty"`
	// Pending is why something is still to be done.
	Pending []Pending `json:"pending,omitempty"`
}

// CopyInfo is a copy on a node.
type CopyInfo struct {
	cluster.Copy
	Node     cluster.NodeID `json:"node"`
	NodeName string         `json:"node_name"`
	Owner    bool           `json:"is_owner,omitempty"`
}

// datasets is the part of the control service for datasets.
type datasets interface {
	CreateDataset(ctx context.Context, by string, r DatasetRequest) (cluster.Dataset, error)
	ListDatasets(ctx context.Context) ([]DatasetInfo, error)
	GetDataset(ctx context.Context, ref string) (DatasetInfo, error)
	ChangeDataset(ctx context.Context, by, ref string, c DatasetChange) (cluster.Dataset, error)
	DeleteDataset(ctx context.Context, by, ref string) (cluster.Dataset, error)
	clones
}

// clones makes datasets of datasets.
type clones interface {
	CloneDataset(ctx context.Context, by, ref string, r CloneRequest) (cluster.Dataset, error)
	CopyDataset(ctx context.Context, by, ref string, r CopyRequest) (cluster.Dataset, error)
}
