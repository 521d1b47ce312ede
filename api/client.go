// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// Client is a user's connection to the control service. Its errors answer errors.Is with cluster's sentinels. Only calls
// that may be done twice are asked of another endpoint when the outcome at one is unknown. It is safe for concurrent use.
type Client struct{ control *endpoints }

// NewClient talks to the control service at any of the endpoints (host:port), as the user of config's certificate.
func NewClient(hosts []string, config *tls.Config) *Client {
	return &Client{control: newEndpoints(hosts, config, 0)}
}

// Close ends idle connections.
func (c *Client) Close() { c.control.close() }

func get[T any](ctx context.Context, c *Client, path ...string) (T, error) {
	var out T
	err := c.control.do(ctx, call{method: http.MethodGet, path: joined(path), repeatable: true}, &out)
	return out, err
}

func send[T any](ctx context.Context, c *Client, method string, in any, repeatable bool, path ...string) (T, error) {
	var out T
	err := c.control.do(ctx, call{method: method, path: joined(path), body: in, repeatable: repeatable}, &out)
	return out, err
}

// joined makes a path of parts, whatever they contain.
func joined(parts []string) string {
	escaped := []string{"/v2"}
	for _, p := range parts {
		escaped = append(escaped, url.PathEscape(p))
	}
	return strings.Join(escaped, "/")
}

// Status shows everything at a glance.
func (c *Client) Status(ctx context.Context) (Status, error) { return get[Status](ctx, c, "status") }

// Version says what runs the cluster.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "version")
}

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context) ([]NodeInfo, error) {
	return get[[]NodeInfo](ctx, c, "nodes")
}

// NodeStorage lets a node look at its storage.
func (c *Client) NodeStorage(ctx context.Context, node string) (StorageReport, error) {
	return get[StorageReport](ctx, c, "nodes", node, "storage")
}

// FenceNode testifies that a node is switched off.
func (c *Client) FenceNode(ctx context.Context, node string) (FenceReply, error) {
	return send[FenceReply](ctx, c, http.MethodPost, FenceRequest{IsOff: true}, true, "nodes", node, "fence")
}

// ForgetNode forgets a node that is gone and owns nothing.
func (c *Client) ForgetNode(ctx context.Context, node string) error {
	_, err := send[struct{}](ctx, c, http.MethodDelete, nil, false, "nodes", node)
	return err
}

// FailOver takes data over from a fenced node.
func (c *Client) FailOver(ctx context.Context, r FailOverRequest) (FailOverReply, error) {
	return send[FailOverReply](ctx, c, http.MethodPost, r, false, "fail-overs")
}

// Datasets lists the datasets.
func (c *Client) Datasets(ctx context.Context) ([]DatasetInfo, error) {
	return get[[]DatasetInfo](ctx, c, "datasets")
}

// Dataset shows one, by UUID or name.
func (c *Client) Dataset(ctx context.Context, ref string) (DatasetInfo, error) {
	return get[DatasetInfo](ctx, c, "datasets", ref)
}

// CreateDataset makes one.
func (c *Client) CreateDataset(ctx context.Context, r DatasetRequest) (cluster.Dataset, error) {
	return send[cluster.Dataset](ctx, c, http.MethodPost, r, false, "datasets")
}

// ChangeDataset changes one.
func (c *Client) ChangeDataset(ctx context.Context, ref string, change DatasetChange) (cluster.Dataset, error) {
	return send[cluster.Dataset](ctx, c, http.MethodPatch, change, true, "datasets", ref)
}

// DeleteDataset destroys one, everywhere.
func (c *Client) DeleteDataset(ctx context.Context, ref string) (cluster.Dataset, error) {
	return send[cluster.Dataset](ctx, c, http.MethodDelete, nil, false, "datasets", ref)
}

// Leases lists who holds which dataset where it is.
func (c *Client) Leases(ctx context.Context) ([]cluster.Lease, error) {
	return get[[]cluster.Lease](ctx, c, "leases")
}

// AcquireLease holds a dataset on its node. It may be repeated.
func (c *Client) AcquireLease(ctx context.Context, r LeaseRequest) (cluster.Lease, error) {
	return send[cluster.Lease](ctx, c, http.MethodPost, r, true, "leases")
}

// ReleaseLease lets go of a dataset, whoever holds it. It may be repeated.
func (c *Client) ReleaseLease(ctx context.Context, dataset string) (cluster.Lease, error) {
	return send[cluster.Lease](ctx, c, http.MethodDelete, nil, true, "leases", dataset)
}

// CopyDataset makes a new dataset of another's files, in another back end.
func (c *Client) CopyDataset(ctx context.Context, ref string, r CopyRequest) (cluster.Dataset, error) {
	return send[cluster.Dataset](ctx, c, http.MethodPost, r, false, "datasets", ref, "copies")
}

// CloneDataset makes a new dataset of another's content.
func (c *Client) CloneDataset(ctx context.Context, ref string, r CloneRequest) (cluster.Dataset, error) {
	return send[cluster.Dataset](ctx, c, http.MethodPost, r, false, "datasets", ref, "clones")
}

// CreateSnapshots asks for a snapshot of a dataset, or of all of an application; with an id it may be repeated.
func (c *Client) CreateSnapshots(ctx context.Context, r SnapshotRequest) ([]SnapshotInfo, error) {
	return send[[]SnapshotInfo](ctx, c, http.MethodPost, r, r.ID != "", "snapshots")
}

// Snapshots lists those of a dataset, or of all where it is empty.
func (c *Client) Snapshots(ctx context.Context, dataset string) ([]SnapshotInfo, error) {
	if dataset == "" {
		return get[[]SnapshotInfo](ctx, c, "snapshots")
	}
	return get[[]SnapshotInfo](ctx, c, "datasets", dataset, "snapshots")
}

// DeleteSnapshot removes one.
func (c *Client) DeleteSnapshot(ctx context.Context, dataset, snapshot string) (SnapshotInfo, error) {
	return send[SnapshotInfo](ctx, c, http.MethodDelete, nil, false, "datasets", dataset, "snapshots", snapshot)
}

// RollBack asks for a dataset to be made what it was in a snapshot.
func (c *Client) RollBack(ctx context.Context, dataset string, r RollbackRequest) (RollbackReply, error) {
	return send[RollbackReply](ctx, c, http.MethodPost, r, false, "datasets", dataset, "rollback")
}

// Schedules lists the snapshot schedules.
func (c *Client) Schedules(ctx context.Context) ([]ScheduleInfo, error) {
	return get[[]ScheduleInfo](ctx, c, "schedules")
}

// CreateSchedule makes one; with an id it may be repeated.
func (c *Client) CreateSchedule(ctx context.Context, r ScheduleRequest) (ScheduleInfo, error) {
	return send[ScheduleInfo](ctx, c, http.MethodPost, r, r.ID != "", "schedules")
}

// ChangeSchedule changes, pauses or resumes one.
func (c *Client) ChangeSchedule(ctx context.Context, id cluster.ScheduleID, change ScheduleChange) (ScheduleInfo, error) {
	return send[ScheduleInfo](ctx, c, http.MethodPatch, change, true, "schedules", string(id))
}

// DeleteSchedule removes one; the snapshots that it has made stay.
func (c *Client) DeleteSchedule(ctx context.Context, id cluster.ScheduleID) (ScheduleInfo, error) {
	return send[ScheduleInfo](ctx, c, http.MethodDelete, nil, false, "schedules", string(id))
}

// Deploy makes applications and their datasets as described. It may be repeated.
func (c *Client) Deploy(ctx context.Context, r DeployRequest) (DeployReply, error) {
	return send[DeployReply](ctx, c, http.MethodPost, r, !r.CreateOnly, "deploy")
}

// Applications lists the applications.
func (c *Client) Applications(ctx context.Context) ([]ApplicationInfo, error) {
	return get[[]ApplicationInfo](ctx, c, "applications")
}

// Application shows one.
func (c *Client) Application(ctx context.Context, name string) (ApplicationInfo, error) {
	return get[ApplicationInfo](ctx, c, "applications", name)
}

// DeleteApplication removes one; its datasets stay.
func (c *Client) DeleteApplication(ctx context.Context, name string) (cluster.Application, error) {
	return send[cluster.Application](ctx, c, http.MethodDelete, nil, false, "applications", name)
}

// ApplicationLogs are the last lines that an application wrote; the caller closes them.
func (c *Client) ApplicationLogs(ctx context.Context, name string, lines int) (io.ReadCloser, error) {
	resp, err := c.control.open(ctx, call{
		method: http.MethodGet, path: joined([]string{"applications", name, "logs"}),
		query: url.Values{"lines": {strconv.Itoa(lines)}}, repeatable: true,
	})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Moves lists the moves, newest first.
func (c *Client) Moves(ctx context.Context) ([]MoveInfo, error) {
	return get[[]MoveInfo](ctx, c, "moves")
}

// Move shows one, by UUID or its first characters.
func (c *Client) Move(ctx context.Context, ref string) (MoveInfo, error) {
	return get[MoveInfo](ctx, c, "moves", ref)
}

// CreateMove moves an application with its data.
func (c *Client) CreateMove(ctx context.Context, r MoveRequest) (cluster.Move, error) {
	return send[cluster.Move](ctx, c, http.MethodPost, r, false, "moves")
}

// Preflight says what a move would meet and take.
func (c *Client) Preflight(ctx context.Context, r MoveRequest) (PreflightReport, error) {
	return send[PreflightReport](ctx, c, http.MethodPost, r, true, "preflight")
}

// CancelMove cancels a move before its hand-over.
func (c *Client) CancelMove(ctx context.Context, ref string) (cluster.Move, error) {
	return send[cluster.Move](ctx, c, http.MethodPost, nil, true, "moves", ref, "cancel")
}

// TakeMoveBack gives a move that is handed over, but not committed, back to its source.
func (c *Client) TakeMoveBack(ctx context.Context, ref string) (cluster.Move, error) {
	return send[cluster.Move](ctx, c, http.MethodPost, nil, false, "moves", ref, "take-back")
}

// WatchMove calls fn with a move each time it has changed, until it has ended.
// It returns cluster.ErrUnavailable when the stream broke before.
func (c *Client) WatchMove(ctx context.Context, ref string, fn func(MoveInfo) error) error {
	ended := false
	err := stream(ctx, c, url.Values{}, []string{"moves", ref, "watch"}, func(m MoveInfo) error {
		if m.ID == "" {
			return nil // a heartbeat
		}
		ended = m.Phase.Terminal()
		return fn(m)
	})
	if ended && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Events calls fn with every change after a revision; 0 is from now on.
func (c *Client) Events(ctx context.Context, since cluster.Revision, fn func(Event) error) error {
	q := url.Values{}
	if since > 0 {
		q.Set("since", strconv.FormatInt(int64(since), 10))
	}
	return stream(ctx, c, q, []string{"events"}, func(e Event) error {
		if e.Kind == "" {
			return nil // a heartbeat
		}
		return fn(e)
	})
}

// ConfirmRestore lets agents act on a store that was restored from a backup.
func (c *Client) ConfirmRestore(ctx context.Context) (Status, error) {
	return send[Status](ctx, c, http.MethodPost, nil, true, "confirm-restore")
}

// CreateToken makes a join token.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (Token, error) {
	return send[Token](ctx, c, http.MethodPost, r, false, "tokens")
}

func stream[T any](ctx context.Context, c *Client, query url.Values, path []string, fn func(T) error) error {
	resp, err := c.control.open(ctx, call{method: http.MethodGet, path: joined(path), query: query, repeatable: true})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return lines(ctx, resp.Body, silence, func(line []byte) error {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("read %s: %w", joined(path), err)
		}
		return fn(v)
	})
}
