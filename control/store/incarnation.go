// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
)

// Meta says which cluster and which life of its store this is.
type Meta struct {
	Cluster     string `json:"cluster"`
	Incarnation string `json:"incarnation"`
	// Unconfirmed is set when the store was found to be older than it had been: agents only report until an operator confirms.
	Unconfirmed bool `json:"unconfirmed,omitempty"`
}

// Marker is the memory beside the data of how far the store had come. A store that is
// behind it was restored from a backup.
type Marker struct{ path string }

type mark struct {
	Incarnation string           `json:"incarnation"`
	Revision    cluster.Revision `json:"revision"`
}

// NewMarker returns the marker in a data directory.
func NewMarker(dir string) Marker { return Marker{path: filepath.Join(dir, "last-seen.json")} }

func (m Marker) load() (mark, bool, error) {
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, false, nil
	}
	if err != nil {
		return mark{}, false, fmt.Errorf("read the store's marker: %w", err)
	}
	var k mark
	if err := json.Unmarshal(b, &k); err != nil {
		return mark{}, false, fmt.Errorf("read the store's marker %s: %w", m.path, err)
	}
	return k, true, nil
}

// Save remembers how far the store has come, durably.
func (m Marker) Save(incarnation string, rev cluster.Revision) error {
	b, err := json.Marshal(mark{Incarnation: incarnation, Revision: rev})
	if err != nil {
		return err
	}
	if err := writeSynced(m.path, b); err != nil {
		return fmt.Errorf("write the store's marker: %w", err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone after the rename
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Incarnate reads which store this is, makes a new one's identity, and gives a restored one a new incarnation.
func (s *Store) Incarnate(ctx context.Context, m Marker, clusterID string) (Meta, error) {
	last, known, err := m.load()
	if err != nil {
		return Meta{}, err
	}
	// A first start that died here must not look like a restored backup the next time.
	fresh := uuid.NewString()
	if !known {
		if err := m.Save(fresh, 0); err != nil {
			return Meta{}, err
		}
	}
	var meta Meta
	_, err = s.Update(ctx, func(tx *Tx) error {
		var err error
		meta, err = Get(ctx, tx, MetaKey)
		switch {
		case errors.Is(err, cluster.ErrNotFound):
			if known && last.Revision == 0 {
				fresh = last.Incarnation
			}
			meta = Meta{Cluster: clusterID, Incarnation: fresh, Unconfirmed: last.Revision > 0}
		case err != nil:
			return err
		case s.wentBack(last, known, tx.Revision(), meta):
			meta.Incarnation, meta.Unconfirmed = uuid.NewString(), true
			if err := endSessions(ctx, tx); err != nil {
				return err
			}
		default:
			return nil
		}
		return Put(tx, MetaKey, meta)
	})
	if err != nil {
		return Meta{}, fmt.Errorf("read the store's identity: %w", err)
	}
	rev, err := s.Revision(ctx)
	if err != nil {
		return Meta{}, err
	}
	return meta, m.Save(meta.Incarnation, rev)
}

// endSessions keeps what agents read in another life of the store from being taken up by revision.
func endSessions(ctx context.Context, tx *Tx) error {
	sessions, err := List(ctx, tx, Sessions)
	for _, r := range sessions {
		Delete(tx, Sessions.Under(r.Name))
	}
	return err
}

// wentBack says whether the store is older than it is known to have been. An embedded store without its marker came from elsewhere.
func (s *Store) wentBack(last mark, known bool, rev cluster.Revision, meta Meta) bool {
	if !known {
		return s.Embedded()
	}
	return rev < last.Revision || (s.Embedded() && meta.Incarnation != last.Incarnation)
}

// Confirm ends the wait of a restored store.
func (s *Store) Confirm(ctx context.Context) (Meta, error) {
	var meta Meta
	_, err := s.Update(ctx, func(tx *Tx) error {
		var err error
		if meta, err = Get(ctx, tx, MetaKey); err != nil || !meta.Unconfirmed {
			return err
		}
		meta.Unconfirmed = false
		return Put(tx, MetaKey, meta)
	})
	return meta, err
}
