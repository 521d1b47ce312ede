// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// DefaultPort is where a store listens.
const DefaultPort = "4526"

const (
	connectTimeout = 5 * time.Second
	maxAnswer      = 64 << 20
)

// Client talks to one store as one node. It is safe for concurrent use.
type Client struct {
	host string
	port string
	http *http.Client

	snapshots atomic.Pointer[error] // why there are none, as the store said last
}

// New makes a client of the store at host or host:port. config proves who asks, and accepts the store only.
func New(address string, config *tls.Config) (*Client, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, DefaultPort
	}
	if host == "" {
		return nil, fmt.Errorf("address %q of the block store: %w: want HOST or HOST:PORT", address, cluster.ErrInvalid)
	}
	return &Client{host: host, port: port, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		DialContext:       (&net.Dialer{Timeout: connectTimeout}).DialContext,
		// One that went away without a word must not hold up the call after it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: connectTimeout, PingTimeout: connectTimeout},
	}}}, nil
}

// Host is where the store's exports are too.
func (c *Client) Host() string { return c.host }

// Volumes are all volumes of the store.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	var volumes []Volume
	err := c.call(ctx, http.MethodGet, "", nil, &volumes)
	return volumes, err
}

// Volume is one of them.
func (c *Client) Volume(ctx context.Context, id string) (Volume, error) {
	var v Volume
	err := c.call(ctx, http.MethodGet, "/"+url.PathEscape(id), nil, &v)
	return v, err
}

// Create makes a volume, or returns the one of the dataset that is there with the same size and profile.
func (c *Client) Create(ctx context.Context, spec Spec) (Volume, error) {
	var v Volume
	err := c.call(ctx, http.MethodPost, "", spec, &v)
	return v, err
}

// Destroy removes a volume that nobody has attached.
func (c *Client) Destroy(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/"+url.PathEscape(id), nil, nil)
}

// Attach gets this node the volume, or the export that it has already.
func (c *Client) Attach(ctx context.Context, id string) (Export, error) {
	var e Export
	err := c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/attach", nil, &e)
	return e, err
}

// Detach ends an attachment of any machine. Nothing can be written through its export after that. One that has ended is success.
func (c *Client) Detach(ctx context.Context, id string, r DetachRequest) error {
	return c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/detach", r, nil)
}

// Grow makes a volume at least as large. An export that is in use is interrupted for a moment, by which its client learns of it.
func (c *Client) Grow(ctx context.Context, id string, size int64) error {
	return c.call(ctx, http.MethodPost, "/"+url.PathEscape(id)+"/grow", GrowRequest{size}, nil)
}

func (c *Client) call(ctx context.Context, method, path string, question, answer any) error {
	var body io.Reader = http.NoBody
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "https://"+net.JoinHostPort(c.host, c.port)+"/v1/volumes"+path, body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrTemporary, err)
	}
	defer response.Body.Close()
	c.heard(response)
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: %s %s: %w", backend.ErrTemporary, method, path, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return refusal(response.Status, text)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("the block store's answer: %w", err)
	}
	return nil
}

func refusal(status string, text []byte) error {
	p := &Problem{}
	if err := json.Unmarshal(text, p); err != nil || p.Detail == "" {
		return fmt.Errorf("the block store answers %s", status)
	}
	return fmt.Errorf("block store: %w", p)
}
