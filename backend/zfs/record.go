// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"encoding/json"
	"fmt"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// record is what Flocker knows of a head, in one property, so that all of it changes at once. The size is refquota.
type record struct {
	Epoch   cluster.Epoch  `json:"epoch"`
	Scratch cluster.MoveID `json:"scratch,omitempty"`
	Profile string         `json:"profile,omitempty"`
	// Turn grows with each revert. Of two heads of a dataset, which are there while one takes the other's place, the later is the head.
	Turn uint64 `json:"turn,omitempty"`
}

func recordOf(spec backend.Spec, scratch cluster.MoveID) record {
	return record{Epoch: spec.Epoch, Scratch: scratch, Profile: spec.Profile}
}

func (r record) encode() (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("record of the head: %w", err)
	}
	return string(text), nil
}

func decodeRecord(text string) (*record, error) {
	r := new(record)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("record of the head: %w", err)
	}
	return r, nil
}

// quota is a size as refquota has it.
func quota(size int64) string {
	if size == 0 {
		return "none"
	}
	return fmt.Sprint(size)
}
