// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Problem is an error on the wire. Its code stands for a sentinel, so that errors.Is works across processes.
type Problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error tells what happened.
func (p *Problem) Error() string { return p.Detail }

// Is makes a problem equal to the sentinel that it stands for.
func (p *Problem) Is(target error) bool {
	for _, k := range kinds() {
		if k.is == target {
			return p.Code == k.code
		}
	}
	return false
}

type kind struct {
	is     error
	code   string
	status int
}

func kinds() []kind {
	return []kind{
		{backend.ErrNotFound, "not-found", http.StatusNotFound},
		{backend.ErrExists, "exists", http.StatusConflict},
		{backend.ErrBusy, "busy", http.StatusConflict},
		{backend.ErrNotAttached, "not-attached", http.StatusConflict},
		{backend.ErrNoSpace, "no-space", http.StatusInsufficientStorage},
		{backend.ErrUnsupported, "unsupported", http.StatusNotImplemented},
		{cluster.ErrInvalid, "invalid", http.StatusUnprocessableEntity},
		{cluster.ErrForbidden, "forbidden", http.StatusForbidden},
		{backend.ErrTemporary, "temporary", http.StatusServiceUnavailable},
	}
}

// WriteError answers a request with an error.
func WriteError(w http.ResponseWriter, err error) {
	p, status := Problem{Code: "internal", Detail: err.Error()}, http.StatusInternalServerError
	for _, k := range kinds() {
		if errors.Is(err, k.is) {
			p.Code, status = k.code, k.status
			break
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the peer is gone when this fails
}
