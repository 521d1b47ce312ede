// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// markKey is the key of an image's metadata that says whose it is.
const markKey = "flocker"

// mark is what stands there.
type mark struct {
	Cluster string            `json:"cluster"`
	Dataset cluster.DatasetID `json:"dataset"`
	Profile string            `json:"profile,omitempty"`
	Origin  string            `json:"origin,omitempty"` // the snapshot of which it was cloned

	// unfinished are the rollbacks that were begun and not ended: keys of the image's metadata, with the name of the snapshot.
	unfinished map[string]string
}

// markOf reads an image's mark, once: Ceph's id of it is of no other image ever. Nil is an image without ours.
func (s *Store) markOf(ctx context.Context, l listed) (*mark, error) {
	if known, ok := s.marks.Load(l.ID); ok && l.ID != "" {
		return known.(*mark), nil
	}
	m, err := s.readMark(ctx, l.Image)
	if err == nil && m != nil && l.ID != "" {
		s.marks.Store(l.ID, m)
	}
	return m, err
}

func (s *Store) readMark(ctx context.Context, image string) (*mark, error) {
	var metadata map[string]string
	err := s.ceph.rbdJSON(ctx, &metadata, "image-meta", "ls", s.ceph.image(image))
	if noImage(err) {
		return nil, absent(image)
	}
	if err != nil || metadata[markKey] == "" {
		return nil, err
	}
	var m mark
	if err := decode("the mark of image "+image, []byte(metadata[markKey]), &m); err != nil {
		return nil, err
	}
	if m.Cluster != s.cluster || s.imageOf(m.Dataset) != image {
		return nil, nil // of another's, whose image was renamed or copied
	}
	maps.DeleteFunc(metadata, func(key, _ string) bool { return !strings.HasPrefix(key, rollbackKey) })
	m.unfinished = metadata
	return &m, nil
}

func (s *Store) setMark(ctx context.Context, image string, m *mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = s.ceph.rbd(ctx, "image-meta", "set", s.ceph.image(image), markKey, string(text))
	return err
}
