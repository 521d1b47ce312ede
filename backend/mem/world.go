// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// hold is something that can reach a head beside its mount.
type hold struct {
	who       string
	elsewhere bool
}

// Write writes a file of the head as a container does: only where the head is mounted, or still held.
func (d *Driver) Write(id cluster.DatasetID, name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return fmt.Errorf("write %s of dataset %s: %w", name, id, err)
	}
	if h.mounted == "" && len(h.holds) == 0 {
		return fmt.Errorf("write %s of dataset %s: %w", name, id, errNotMounted)
	}
	more := int64(len(data) - len(h.files[name]))
	if h.Size > 0 && size(h.files)+more > h.Size || more > d.free() {
		return fmt.Errorf("write %s of dataset %s: %w", name, id, backend.ErrNoSpace)
	}
	if h.files == nil {
		h.files = map[string][]byte{}
	}
	h.files[name], h.base = bytes.Clone(data), ""
	return nil
}

// Files are those of the head, mounted or not.
func (d *Driver) Files(id cluster.DatasetID) (map[string][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return nil, err
	}
	return maps.Clone(h.files), nil
}

// Root is whose the data folder of the head is.
func (d *Driver) Root(id cluster.DatasetID) (cluster.Root, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return cluster.Root{}, err
	}
	r := h.Root
	r.Mode = cmp.Or(r.Mode, "0755")
	return r, nil
}

// SnapshotFiles are those of a snapshot.
func (d *Driver) SnapshotFiles(id cluster.DatasetID, name string) (map[string][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.volumes[id]; v != nil {
		if s, ok := v.snapshots[name]; ok {
			return maps.Clone(s.files), nil
		}
	}
	return nil, fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
}

// Writable is the truth: something on this node can change the head.
func (d *Driver) Writable(id cluster.DatasetID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	return err == nil && (h.mounted != "" || len(h.holds) > 0)
}

// Hold keeps the head in use until release: through its mount, which then cannot be undone, or from elsewhere, such as
// another mount namespace, which only Released notices.
func (d *Driver) Hold(id cluster.DatasetID, who string, elsewhere bool) (release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return nil, err
	}
	if h.mounted == "" {
		return nil, fmt.Errorf("hold dataset %s: %w", id, errNotMounted)
	}
	u := &hold{who, elsewhere}
	h.holds[u] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(h.holds, u)
	}, nil
}

// Reboot ends every mount and hold, as a node's restart does.
func (d *Driver) Reboot() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range d.volumes {
		if v.head != nil {
			v.head.mounted = ""
			clear(v.head.holds)
		}
	}
}
