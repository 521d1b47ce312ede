// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/flocker-project/flocker/cluster"
)

// RecordVersion is the version of the records that this build reads and writes.
const RecordVersion = 1

// envelope is a record as stored. A record of a newer version is refused, never
// half understood: acting on a part of what is meant would be a guess.
type envelope struct {
	Version int             `json:"v"`
	Data    json.RawMessage `json:"data"`
}

func encode[T any](v T) (string, error) {
	stamp(&v, 0)
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(envelope{Version: RecordVersion, Data: data})
	return string(b), err
}

func decode[T any](key string, value []byte, modified int64) (T, error) {
	var v T
	var e envelope
	if err := json.Unmarshal(value, &e); err != nil {
		return v, fmt.Errorf("record %s cannot be read: %w", key, err)
	}
	if e.Version != RecordVersion {
		return v, fmt.Errorf("record %s has version %d, this control service reads version %d: %w",
			key, e.Version, RecordVersion, cluster.ErrUnavailable)
	}
	d := json.NewDecoder(bytes.NewReader(e.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, fmt.Errorf("record %s cannot be read: %w", key, err)
	}
	stamp(&v, cluster.Revision(modified))
	return v, nil
}

// stamp sets the revision on the records that show theirs.
func stamp(v any, rev cluster.Revision) {
	switch r := v.(type) {
	case *cluster.Dataset:
		r.Revision = rev
	case *cluster.Application:
		r.Revision = rev
	case *cluster.Move:
		r.Revision = rev
	case *cluster.Lease:
		r.Revision = rev
	}
}
