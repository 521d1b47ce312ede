// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/flocker-project/flocker/cluster"
)

// Problem is an error on the wire (RFC 9457). Its code stands for one of cluster's
// sentinels, so that errors.Is works across processes.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title,omitempty"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code,omitempty" doc:"not-found, exists, conflict, invalid, forbidden, unavailable, gone, precondition or internal"`
	// Fields are the places of bad input.
	Fields []*cluster.FieldError `json:"fields,omitempty"`
	// Move is the move that stands in the way, or as it is now when a transition was refused.
	Move *cluster.Move `json:"move,omitempty"`
}

// Error tells what happened.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of problem documents.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// Is makes a problem equal to the sentinel that it stands for.
func (p *Problem) Is(target error) bool {
	for _, k := range problemKinds() {
		if k.is == target {
			return p.Code == k.code || (p.Code == "" && p.Status == k.status)
		}
	}
	return false
}

type problemKind struct {
	is     error
	code   string
	status int
}

func problemKinds() []problemKind {
	return []problemKind{
		{cluster.ErrNotFound, "not-found", http.StatusNotFound},
		{cluster.ErrExists, "exists", http.StatusConflict},
		{cluster.ErrConflict, "conflict", http.StatusConflict},
		{cluster.ErrInvalid, "invalid", http.StatusUnprocessableEntity},
		{cluster.ErrForbidden, "forbidden", http.StatusForbidden},
		{cluster.ErrGone, "gone", http.StatusGone},
		{cluster.ErrPrecondition, "precondition", http.StatusPreconditionFailed},
		{cluster.ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
	}
}

// MoveError is a refusal that carries the move as it is now.
type MoveError struct {
	Move cluster.Move
	Err  error
}

func (e *MoveError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *MoveError) Unwrap() error { return e.Err }

// CurrentMove is the move that a refusal carries.
func CurrentMove(err error) (cluster.Move, bool) {
	if p := new(Problem); errors.As(err, &p) && p.Move != nil {
		return *p.Move, true
	}
	if e := new(MoveError); errors.As(err, &e) {
		return e.Move, true
	}
	return cluster.Move{}, false
}

// ProblemOf describes err for the wire. What is none of our sentinels is an internal error.
func ProblemOf(err error) *Problem {
	if p := new(Problem); errors.As(err, &p) {
		return p
	}
	p := &Problem{Status: http.StatusInternalServerError, Code: "internal", Title: "internal error", Detail: err.Error()}
	for _, k := range problemKinds() {
		if errors.Is(err, k.is) {
			p.Status, p.Code, p.Title = k.status, k.code, k.is.Error()
			break
		}
	}
	p.Fields = cluster.FieldErrors(err)
	if m, ok := CurrentMove(err); ok {
		p.Move = &m
	}
	return p
}

// WriteError answers a request with an error.
func WriteError(w http.ResponseWriter, err error) {
	p := ProblemOf(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the peer is gone when this fails
}
