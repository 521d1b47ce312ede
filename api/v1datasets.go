// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// v1MinimumSize is the smallest limit that the original takes.
const v1MinimumSize = 64 << 20

type v1Dataset struct {
	ID          cluster.DatasetID `json:"dataset_id"`
	Primary     cluster.NodeID    `json:"primary,omitempty"`
	Deleted     *bool             `json:"deleted,omitempty"`
	Metadata    map[string]string `json:"metadata,omitzero"`
	MaximumSize int64             `json:"maximum_size,omitempty"`
	Path        string            `json:"path,omitempty"`
}

// v1Configured is a dataset as it should be; while it moves, its primary is the target.
func v1Configured(d cluster.Dataset, target cluster.NodeID) v1Dataset {
	v := v1Dataset{ID: d.ID, Primary: d.Owner, Deleted: &d.Deleted, Metadata: d.Metadata, MaximumSize: d.Size}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if target != "" {
		v.Primary = target
	}
	return v
}

// targets are where the moves under way lead.
func (h v1) targets(ctx context.Context) (map[cluster.MoveID]cluster.NodeID, error) {
	all, err := h.Moves.ListMoves(ctx)
	targets := map[cluster.MoveID]cluster.NodeID{}
	for _, m := range all {
		if !m.Phase.Terminal() && !m.CancelRequested {
			targets[m.ID] = m.Target
		}
	}
	return targets, err
}

func (h v1) listDatasets(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		targets, err := h.targets(r.Context())
		if err != nil {
			return 0, nil, err
		}
		all, err := h.Datasets.ListDatasets(r.Context())
		list := []v1Dataset{}
		for _, d := range all {
			list = append(list, v1Configured(d.Dataset, targets[d.Move]))
		}
		return http.StatusOK, list, err
	})
}

func (h v1) datasetState(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		all, err := h.Datasets.ListDatasets(r.Context())
		list := []v1Dataset{}
		for _, d := range all {
			if len(d.Copies) == 0 {
				continue
			}
			v := v1Dataset{ID: d.ID, MaximumSize: d.Copies[0].Size}
			if d.Path != "" {
				v.Primary, v.Path = d.Owner, d.Path
			}
			list = append(list, v)
		}
		return http.StatusOK, list, err
	})
}

type v1DatasetRequest struct {
	Primary     string            `json:"primary"`
	ID          string            `json:"dataset_id"`
	MaximumSize *int64            `json:"maximum_size"`
	Metadata    map[string]string `json:"metadata"`
}

func (q v1DatasetRequest) check() error {
	var problems []string
	v1UUID("primary", q.Primary, &problems)
	if q.ID != "" {
		v1UUID("dataset_id", q.ID, &problems)
	}
	if s := q.MaximumSize; s != nil && (*s < v1MinimumSize || *s%1024 != 0) {
		problems = append(problems, fmt.Sprintf("maximum_size: %d is not a multiple of 1024 from %d on", *s, v1MinimumSize))
	}
	return v1Schema(problems)
}

func (h v1) createDataset(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleOperate, func(by string) (int, any, error) {
		var q v1DatasetRequest
		if err := readV1(r, &q); err != nil {
			return 0, nil, err
		}
		if err := q.check(); err != nil {
			return 0, nil, err
		}
		request := DatasetRequest{ID: cluster.DatasetID(strings.ToLower(q.ID)), Node: q.Primary, Metadata: q.Metadata}
		if q.MaximumSize != nil {
			request.Size = *q.MaximumSize
		}
		d, err := h.Datasets.CreateDataset(r.Context(), by, request)
		return http.StatusCreated, v1Configured(d, ""), err
	})
}

// updateDataset moves one that no application uses; the others move with their application.
func (h v1) updateDataset(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleOperate, func(by string) (int, any, error) {
		var q struct {
			Primary *string `json:"primary"`
		}
		if err := readV1(r, &q); err != nil {
			return 0, nil, err
		}
		d, err := h.datasetByID(r)
		if err != nil {
			return 0, nil, err
		}
		if d.Deleted {
			return 0, nil, &v1Error{status: http.StatusMethodNotAllowed, Description: "The dataset has been deleted."}
		}
		if q.Primary == nil || strings.EqualFold(*q.Primary, string(d.Owner)) {
			return http.StatusOK, v1Configured(d.Dataset, ""), nil
		}
		var problems []string
		if v1UUID("primary", *q.Primary, &problems); len(problems) > 0 {
			return 0, nil, v1Schema(problems)
		}
		if len(d.UsedBy) > 0 {
			return 0, nil, &v1Error{status: http.StatusConflict, Description: fmt.Sprintf("Application %s uses the dataset, which moves only with it.", d.UsedBy[0])}
		}
		m, err := h.Moves.CreateMove(r.Context(), by, MoveRequest{Dataset: string(d.ID), Node: *q.Primary})
		return http.StatusOK, v1Configured(d.Dataset, m.Target), err
	})
}

func (h v1) deleteDataset(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleOperate, func(by string) (int, any, error) {
		d, err := h.datasetByID(r)
		if err != nil {
			return 0, nil, err
		}
		gone, err := h.Datasets.DeleteDataset(r.Context(), by, string(d.ID))
		return http.StatusOK, v1Configured(gone, ""), err
	})
}

// datasetByID never takes a name for an id.
func (h v1) datasetByID(r *http.Request) (DatasetInfo, error) {
	id := strings.ToLower(r.PathValue("dataset"))
	d, err := h.Datasets.GetDataset(r.Context(), id)
	if err == nil && string(d.ID) != id {
		err = cluster.ErrNotFound
	}
	if errors.Is(err, cluster.ErrNotFound) {
		return d, &v1Error{status: http.StatusNotFound, Description: "Dataset not found."}
	}
	return d, err
}
