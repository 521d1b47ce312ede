// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Extended attributes of the namespace that only root can see and that containers cannot reach.
const (
	recordAttr  = "trusted.flocker.head"    // on a dataset's folder
	datasetAttr = "trusted.flocker.dataset" // on a head's root; snapshots have it too, and it is sent with them
)

// record is what Flocker knows of a head. It is kept beside the head, on the dataset's folder, because writing it on the
// head would be a change since the last snapshot. It counts only while there is a head.
type record struct {
	Epoch   cluster.Epoch  `json:"epoch"`
	Scratch cluster.MoveID `json:"scratch,omitempty"`
	Size    int64          `json:"size,omitempty"`
	Profile string         `json:"profile,omitempty"`
}

func recordOf(spec backend.Spec, scratch cluster.MoveID) record {
	return record{Epoch: spec.Epoch, Scratch: scratch, Size: spec.Size, Profile: spec.Profile}
}

func readRecord(volume string) (record, error) {
	var r record
	data, err := attribute(volume, recordAttr)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("record of head in %s: %w", volume, err)
	}
	return r, nil
}

// writeRecord replaces the record in one step; it is durable with the next commit.
func writeRecord(volume string, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record of head in %s: %w", volume, err)
	}
	if err := unix.Lsetxattr(volume, recordAttr, data, 0); err != nil {
		return fmt.Errorf("write the record of the head in %s: %w", volume, sentinel(err))
	}
	return nil
}

// attribute reads an extended attribute; one that is not set is empty.
func attribute(path, name string) ([]byte, error) {
	buf := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, name, buf)
	switch {
	case errors.Is(err, unix.ENODATA):
		return []byte("{}"), nil
	case err != nil:
		return nil, fmt.Errorf("read %s of %s: %w", name, path, sentinel(err))
	}
	return buf[:n], nil
}

func setDataset(subvolume string, id cluster.DatasetID) error {
	if err := unix.Lsetxattr(subvolume, datasetAttr, []byte(id), 0); err != nil {
		return fmt.Errorf("write %s of %s: %w", datasetAttr, subvolume, sentinel(err))
	}
	return nil
}
