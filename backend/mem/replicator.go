// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// stream is what Send writes: its length, itself as JSON, and the digest of that.
type stream struct {
	Dataset  cluster.DatasetID
	Snapshot cluster.Snapshot
	Base     string // identity of the base
	Changed  map[string][]byte
	Removed  []string
}

const maxStream = 1 << 30

var errStream = errors.New("not the snapshot that was announced")

// Send writes the files that differ from the base.
func (d *Driver) Send(ctx context.Context, id cluster.DatasetID, name, base string, w io.Writer) error {
	parts, err := d.encode(id, name, base)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// encode is a stream in three parts: its length, itself, its digest.
func (d *Driver) encode(id cluster.DatasetID, name, base string) ([][]byte, error) {
	s, err := d.difference(id, name, base)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	sum := sha256.Sum256(data)
	return [][]byte{binary.BigEndian.AppendUint32(nil, uint32(len(data))), data, sum[:]}, nil
}

func (d *Driver) difference(id cluster.DatasetID, name, base string) (*stream, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[id]
	if v == nil {
		return nil, fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
	}
	s, ok := v.snapshots[name]
	if !ok {
		return nil, fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
	}
	b, ok := v.snapshots[base]
	if !ok && base != "" {
		return nil, fmt.Errorf("base %s: %w", base, backend.ErrBaseMissing)
	}
	out := &stream{Dataset: id, Snapshot: s.Snapshot, Base: b.ID, Changed: map[string][]byte{}}
	for file, data := range s.files {
		if old, ok := b.files[file]; !ok || !bytes.Equal(old, data) {
			out.Changed[file] = data
		}
	}
	for file := range b.files {
		if _, ok := s.files[file]; !ok {
			out.Removed = append(out.Removed, file)
		}
	}
	return out, nil
}

// Receive keeps nothing before the whole stream is read and its content is what was announced.
func (d *Driver) Receive(ctx context.Context, to backend.Arrival, announced backend.Announced, r io.Reader) (cluster.Snapshot, error) {
	id, base := to.Dataset, to.Base
	want, err := announced()
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if err := d.baseThere(id, want, base); err != nil {
		return cluster.Snapshot{}, err
	}
	kept, err := d.resume(to, want, r)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	s, err := readStream(kept)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		d.brokeOff(to, want, kept, err)
		return cluster.Snapshot{}, fmt.Errorf("receive: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.Dataset != id || s.Snapshot.Name != want.Name || s.Snapshot.ID != want.ID {
		return cluster.Snapshot{}, fmt.Errorf("receive: %w: it is %s of dataset %s", errStream, s.Snapshot.Name, s.Dataset)
	}
	return d.apply(to, s)
}

func (d *Driver) baseThere(id cluster.DatasetID, want cluster.Snapshot, base string) error {
	if _, err := backend.ParseLineage(want.Name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[id]
	if v != nil {
		if s, ok := v.snapshots[want.Name]; ok && s.ID != want.ID {
			return fmt.Errorf("snapshot %s: %w with other content", want.Name, backend.ErrExists)
		}
	}
	if base == "" {
		return nil
	}
	if v != nil {
		if _, ok := v.snapshots[base]; ok {
			return nil
		}
	}
	return fmt.Errorf("base %s: %w", base, backend.ErrBaseMissing)
}

func readStream(r io.Reader) (*stream, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, cut(err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxStream {
		return nil, fmt.Errorf("%w: %d bytes", errStream, n)
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(n)+sha256.Size))
	if err != nil {
		return nil, err
	}
	if len(data) < int(n)+sha256.Size {
		return nil, cut(io.EOF)
	}
	if sum := sha256.Sum256(data[:n]); !bytes.Equal(sum[:], data[n:]) {
		return nil, fmt.Errorf("%w: wrong digest", errStream)
	}
	switch extra, err := r.Read(make([]byte, 1)); {
	case extra > 0:
		return nil, fmt.Errorf("%w: more after its end", errStream)
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the end of the stream: %w", err)
	}
	s := new(stream)
	if err := json.Unmarshal(data[:n], s); err != nil {
		return nil, fmt.Errorf("%w: %w", errStream, err)
	}
	return s, nil
}

// cut is an end of the input where none belongs.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the stream broke off: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// apply lets the snapshot appear, with the lock held.
func (d *Driver) apply(to backend.Arrival, s *stream) (cluster.Snapshot, error) {
	id, base, files := to.Dataset, to.Base, map[string][]byte{}
	if v := d.volumes[id]; v != nil {
		if there, ok := v.snapshots[s.Snapshot.Name]; ok {
			return there.Snapshot, nil
		}
		b := v.snapshots[base]
		if b.ID != s.Base {
			return cluster.Snapshot{}, fmt.Errorf("receive: %w: another base", errStream)
		}
		maps.Copy(files, b.files)
	} else if s.Base != "" {
		return cluster.Snapshot{}, fmt.Errorf("receive: %w: it has a base", errStream)
	}
	for _, name := range s.Removed {
		delete(files, name)
	}
	maps.Copy(files, s.Changed)
	if identity(id, s.Snapshot.Name, files) != s.Snapshot.ID {
		return cluster.Snapshot{}, fmt.Errorf("receive: %w: other content", errStream)
	}
	if need := size(s.Changed); need > d.free() {
		return cluster.Snapshot{}, fmt.Errorf("receive: %w: %d bytes are needed", backend.ErrNoSpace, need)
	}
	d.volume(to.Dataset, to.Profile).snapshots[s.Snapshot.Name] = snapshot{Snapshot: s.Snapshot, files: files}
	return s.Snapshot, nil
}
