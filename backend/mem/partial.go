// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// partial is what has arrived of a whole snapshot.
type partial struct {
	cluster.Partial
	data []byte
}

// keeper reads a stream and keeps what it has read.
type keeper struct {
	r    io.Reader
	data bytes.Buffer
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.r.Read(p)
	k.data.Write(p[:n]) // which cannot fail
	return n, err
}

// resume is a stream from its beginning, of which the first part may be here. What is here of others goes.
func (d *Driver) resume(to backend.Arrival, want cluster.Snapshot, r io.Reader) (*keeper, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.partials[to.Dataset]
	if to.Base == "" {
		delete(d.partials, to.Dataset)
	}
	if to.Rest == "" {
		return &keeper{r: r}, nil
	}
	if p.Token != to.Rest || p.ID != want.ID {
		return nil, fmt.Errorf("the rest of snapshot %s: %w: its first part is not here", want.Name, backend.ErrUnfit)
	}
	return &keeper{r: io.MultiReader(bytes.NewReader(p.data), r)}, nil
}

// brokeOff keeps what came of a whole snapshot, unless it was wrong.
func (d *Driver) brokeOff(to backend.Arrival, want cluster.Snapshot, k *keeper, cause error) {
	if to.Base != "" || k.data.Len() == 0 || errors.Is(cause, errStream) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.partials[to.Dataset] = partial{
		Partial: cluster.Partial{Snapshot: want.Name, ID: want.ID, Token: strconv.Itoa(k.data.Len())}, data: k.data.Bytes(),
	}
}

// Partial is what has arrived of a snapshot whose stream broke off.
func (d *Driver) Partial(_ context.Context, id cluster.DatasetID) (cluster.Partial, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.partials[id].Partial, nil
}

// SendRest writes a stream from where the token says.
func (d *Driver) SendRest(_ context.Context, id cluster.DatasetID, of cluster.Partial, w io.Writer) error {
	parts, err := d.encode(id, of.Snapshot, "")
	if err != nil {
		return fmt.Errorf("the rest of snapshot %s: %w: %w", of.Snapshot, backend.ErrUnfit, err)
	}
	all := bytes.Join(parts, nil)
	from, err := strconv.Atoi(of.Token)
	if err != nil || from < 0 || from > len(all) {
		return fmt.Errorf("the rest of snapshot %s from %q: %w", of.Snapshot, of.Token, backend.ErrUnfit)
	}
	_, err = w.Write(all[from:])
	return err
}
