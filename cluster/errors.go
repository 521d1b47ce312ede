// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
)

// Sentinels that cross package and process boundaries; wrap them with what was done to which object.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrConflict     = errors.New("conflict")           // a compare failed or another use stands in the way
	ErrInvalid      = errors.New("invalid")            // bad input; see FieldError
	ErrForbidden    = errors.New("forbidden")          // the identity may not do this
	ErrUnavailable  = errors.New("unavailable")        // try again later
	ErrGone         = errors.New("revision compacted") // a watch must start over with a full read
	ErrPrecondition = errors.New("precondition failed")
)

// FieldError is bad input at one field or line.
type FieldError struct {
	Field   string `json:"field,omitempty"` // e.g. "applications.db.ports[0].external"
	Line    int    `json:"line,omitempty"`
	Problem string `json:"problem"`
}

func (e *FieldError) Error() string {
	switch {
	case e.Line > 0 && e.Field != "":
		return fmt.Sprintf("line %d: %s: %s", e.Line, e.Field, e.Problem)
	case e.Line > 0:
		return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
	case e.Field != "":
		return e.Field + ": " + e.Problem
	}
	return e.Problem
}

// Is makes every FieldError an ErrInvalid.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }
