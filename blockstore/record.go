// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flocker-project/flocker/blockstore/client"
)

// The files of a volume's folder.
const (
	dataFile   = "data"
	recordFile = "record.json"
)

// record is what is kept of a volume beside its data.
type record struct {
	client.Volume
	Cluster string  `json:"cluster"`
	Origin  string  `json:"origin,omitempty"` // the volume's and the snapshot's names of which it was cloned
	Taken   uint64  `json:"taken,omitempty"`  // how many snapshots were taken of it, ever
	Export  *export `json:"export,omitempty"` // of the attachment of now
}

// export is the way to a volume for one machine during one attachment.
type export struct {
	Port   int    `json:"port"`
	Secret string `json:"secret"`
	// Boot is the machine's boot in which the export was made. Another may have lost what its client takes for written, so
	// the client must not find it again.
	Boot string `json:"boot"`
}

func readRecord(dir string) (record, error) {
	var r record
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", filepath.Join(dir, recordFile), err)
	}
	if r.ID != filepath.Base(dir) {
		return r, fmt.Errorf("%s is the record of volume %q", filepath.Join(dir, recordFile), r.ID)
	}
	return r, nil
}

// write returns once the record is on disk; a crash leaves the one before or this one.
func (r record) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, recordFile), text)
}

func writeFile(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return flush(filepath.Dir(path))
}

// flush returns once a file, or a folder's entries, are on disk.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
