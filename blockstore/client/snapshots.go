// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// snapshotsHeader of every answer says "yes" where the store keeps snapshots, else why it does not.
const snapshotsHeader = "Flocker-Snapshots"

// TellSnapshots says in an answer whether the store keeps snapshots.
func TellSnapshots(w http.ResponseWriter, can error) {
	said := "yes"
	if can != nil {
		said = can.Error()
	}
	w.Header().Set(snapshotsHeader, url.QueryEscape(said))
}

// heard notes what an answer says of snapshots.
func (c *Client) heard(r *http.Response) {
	said, err := url.QueryUnescape(r.Header.Get(snapshotsHeader))
	can := fmt.Errorf("%w: the block store on %s says: %s", backend.ErrUnsupported, c.host, said)
	switch {
	case err == nil && said == "yes":
		can = nil
	case said == "":
		can = fmt.Errorf("%w: the block store on %s is of a version that has none", backend.ErrUnsupported, c.host)
	}
	c.snapshots.Store(&can)
}

// CanSnapshot is what the store said last of whether it keeps snapshots.
func (c *Client) CanSnapshot() error {
	if can := c.snapshots.Load(); can != nil {
		return *can
	}
	return fmt.Errorf("%w: the block store has not been asked yet", backend.ErrUnsupported)
}

// Snapshot is a point of a volume's history.
type Snapshot struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"` // given once in a volume
	Created time.Time `json:"created"`
}

// SnapshotRequest asks for one.
type SnapshotRequest struct {
	Name string `json:"name"`
}

// CloneRequest asks for a volume that holds what a snapshot does.
type CloneRequest struct {
	Snapshot string            `json:"snapshot"`
	Dataset  cluster.DatasetID `json:"dataset"`
	Size     int64             `json:"size"` // at least; the snapshot's is the least
	Profile  string            `json:"profile,omitempty"`
}

// PointRequest names a snapshot of a volume during an attachment: a request that arrives late is about none.
type PointRequest struct {
	Snapshot   string `json:"snapshot"`
	Attachment uint64 `json:"attachment"`
	Machine    string `json:"-"` // as its certificate names it
}

// Difference says whether a volume holds anything else than a snapshot.
type Difference struct {
	Differs bool `json:"differs"`
}

// Snapshot asks for one; the same name again is the one that exists.
func (c *Client) Snapshot(ctx context.Context, id, name string) (Snapshot, error) {
	var s Snapshot
	err := c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/snapshots", SnapshotRequest{name}, &s)
	return s, err
}

// DeleteSnapshot removes one.
func (c *Client) DeleteSnapshot(ctx context.Context, id, name string) error {
	return c.call(ctx, http.MethodDelete, "/"+url.PathEscape(id)+"/snapshots/"+url.PathEscape(name), nil, nil)
}

// Clone makes a volume of a snapshot, or returns the one that was made of it for the dataset.
func (c *Client) Clone(ctx context.Context, id string, q CloneRequest) (Volume, error) {
	var v Volume
	err := c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/clone", q, &v)
	return v, err
}

// Differs compares a volume that this node has attached with a snapshot.
func (c *Client) Differs(ctx context.Context, id string, q PointRequest) (bool, error) {
	var d Difference
	err := c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/differs", q, &d)
	return d.Differs, err
}

// Rollback makes a volume that this node has attached what it was. Its export begins anew.
func (c *Client) Rollback(ctx context.Context, id string, q PointRequest) error {
	return c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/rollback", q, nil)
}
