// SPDX-License-Identifier: Apache-2.0

package external

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// maxRetryAfter bounds how long a driver may ask to be left alone.
const maxRetryAfter = time.Hour

// problem is the body of an answer that is no success.
type problem struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	Machine    string `json:"machine,omitempty"` // of busy: who has the volume
	RetryAfter int64  `json:"retry_after_ms,omitempty"`
}

// codes are the failures that the contract has names for. All others are "internal".
func codes() map[string]error {
	return map[string]error{
		"not-found":    backend.ErrNotFound,
		"exists":       backend.ErrExists,
		"busy":         backend.ErrBusy,
		"no-space":     backend.ErrNoSpace,
		"unsupported":  backend.ErrUnsupported,
		"not-attached": backend.ErrNotAttached,
		"temporary":    backend.ErrTemporary,
		"throttled":    backend.ErrThrottled,
		"invalid":      cluster.ErrInvalid,
		"internal":     nil,
	}
}

// failure turns an answer that is no success into an error of the contract.
func failure(status int, body []byte) error {
	var p problem
	if err := decode(body, &p); err != nil {
		return fmt.Errorf("%w: status %d (%s) without a problem that can be read: %w", errAnswer, status, http.StatusText(status), err)
	}
	sentinel, known := codes()[p.Code]
	if !known {
		return fmt.Errorf("%w: status %d with the unknown code %s: %s", errAnswer, status, printable(p.Code), printable(p.Message))
	}
	if err := checkName("machine", p.Machine, true); err != nil {
		return err
	}
	return p.asError(sentinel)
}

func (p problem) asError(sentinel error) error {
	text := printable(p.Message)
	if p.Machine != "" {
		text = fmt.Sprintf("attached to %s: %s", p.Machine, text)
	}
	if sentinel == nil {
		return fmt.Errorf("the driver failed: %s", text)
	}
	err := fmt.Errorf("%w: %s", sentinel, text)
	again := errors.Is(sentinel, backend.ErrTemporary) || errors.Is(sentinel, backend.ErrThrottled)
	if !again || p.RetryAfter <= 0 {
		return err
	}
	wait := maxRetryAfter
	if p.RetryAfter < maxRetryAfter.Milliseconds() {
		wait = time.Duration(p.RetryAfter) * time.Millisecond
	}
	return &backend.RetryAfterError{Wait: wait, Err: err}
}
