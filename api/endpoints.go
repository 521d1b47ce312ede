// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// maxAnswer bounds what a client reads of one answer.
const maxAnswer = 256 << 20

// endpoints are servers that answer alike; the one that answered last is asked first.
type endpoints struct {
	hosts  []string // host:port
	first  atomic.Int32
	client *http.Client
}

func newEndpoints(hosts []string, config *tls.Config, within time.Duration) *endpoints {
	return &endpoints{hosts: hosts, client: &http.Client{Transport: newTransport(config, within)}}
}

// newTransport keeps connections and notices within seconds that a peer is dead. An
// answer must begin within the time given; 0 is without limit.
func newTransport(config *tls.Config, within time.Duration) *http.Transport {
	return &http.Transport{
		ResponseHeaderTimeout: within,
		TLSClientConfig:       config,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ForceAttemptHTTP2:     true,
		IdleConnTimeout:       90 * time.Second,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 4 * time.Second, PingTimeout: 3 * time.Second},
	}
}

func (e *endpoints) close() { e.client.CloseIdleConnections() }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any
	// repeatable calls are asked of the next server when the outcome at one is unknown.
	repeatable bool
}

// do asks until a server answers, and decodes the answer into out when that is not nil.
func (e *endpoints) do(ctx context.Context, c call, out any) error {
	resp, err := e.open(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w: %w", c.method, c.path, cluster.ErrUnavailable, err)
	}
	return nil
}

// open asks until a server answers; the caller closes the body.
func (e *endpoints) open(ctx context.Context, c call) (*http.Response, error) {
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.method, c.path, err)
		}
	}
	var failures []error
	for i := range len(e.hosts) {
		n := (int(e.first.Load()) + i) % len(e.hosts)
		resp, err := e.ask(ctx, e.hosts[n], c, body)
		if err == nil {
			e.first.Store(int32(n))
			return resp, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", e.hosts[n], err))
		answered := new(Problem)
		if errors.As(err, &answered) && (!c.repeatable || answered.Status != http.StatusServiceUnavailable) {
			return nil, fmt.Errorf("%s %s: %w", c.method, c.path, err)
		}
		if ctx.Err() != nil || (!c.repeatable && !neverSent(err)) {
			break
		}
	}
	if len(failures) == 0 {
		return nil, fmt.Errorf("%s %s: no server is known: %w", c.method, c.path, cluster.ErrUnavailable)
	}
	return nil, fmt.Errorf("%s %s: %w: %w", c.method, c.path, cluster.ErrUnavailable, errors.Join(failures...))
}

func (e *endpoints) ask(ctx context.Context, host string, c call, body []byte) (*http.Response, error) {
	u := url.URL{Scheme: "https", Host: host, RawQuery: c.query.Encode()}
	var err error
	if u.Path, err = url.PathUnescape(c.path); err != nil {
		return nil, err
	}
	u.RawPath = c.path
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

func readProblem(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	p := &Problem{}
	if json.Unmarshal(b, p) != nil || p.Status == 0 {
		p = &Problem{Detail: string(bytes.TrimSpace(b[:min(len(b), 200)]))}
	}
	p.Status = resp.StatusCode
	if p.Title == "" {
		p.Title = resp.Status
	}
	return p
}

// neverSent says whether the request did not reach the server: asking another one cannot do it twice.
func neverSent(err error) bool {
	op := new(net.OpError)
	return errors.As(err, &op) && op.Op == "dial"
}

// lines calls fn with each document of a stream, and fails when none comes for the time given.
func lines(ctx context.Context, body io.ReadCloser, silence time.Duration, fn func([]byte) error) error {
	stop := context.AfterFunc(ctx, func() { _ = body.Close() }) // ends the read below
	defer stop()
	var silent atomic.Bool
	watchdog := time.AfterFunc(silence, func() {
		silent.Store(true)
		_ = body.Close() // ends the read below
	})
	defer watchdog.Stop()
	in := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case silent.Load():
				return fmt.Errorf("nothing was heard for %s: %w", silence, cluster.ErrUnavailable)
			}
			return fmt.Errorf("the stream broke: %w: %w", cluster.ErrUnavailable, err)
		}
		watchdog.Reset(silence)
		if err := fn(line); err != nil {
			return err
		}
	}
}
