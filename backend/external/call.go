// SPDX-License-Identifier: Apache-2.0

package external

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// longestSocket is what fits into the kernel's sockaddr_un.
const longestSocket = 107

// socket calls the driver behind a Unix socket.
type socket struct {
	path    string
	cluster string
	timeout time.Duration
	client  *http.Client
}

func newSocket(path, cluster string, timeout time.Duration) *socket {
	s := &socket{path: path, cluster: cluster, timeout: timeout}
	s.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// A connection for each call: one that was kept may be of a driver that was restarted since.
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
			DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		},
	}
	return s
}

// dial connects to a driver of a user who may do here all that this program may: it names devices that are formatted.
func (s *socket) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", s.path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%w: is the driver running? %w", backend.ErrTemporary, err)
	case errors.Is(err, unix.EAGAIN): // more connections wait than the driver lets
		return nil, fmt.Errorf("%w: %w", backend.ErrTemporary, err)
	}
	if err != nil {
		return nil, err
	}
	user, err := userOf(conn)
	if err == nil && user != 0 && user != os.Getuid() {
		err = fmt.Errorf("%w: it is a program of user %d, who is not trusted with this machine's devices", cluster.ErrForbidden, user)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func userOf(conn net.Conn) (user int, err error) {
	raw, err := conn.(*net.UnixConn).SyscallConn() //nolint:forcetypeassert // it was dialled as one
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var who *unix.Ucred
		if who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			user = int(who.Uid)
		}
	})
	return user, errors.Join(err, failed)
}

// call asks the driver for something, and reads its answer into a struct.
func (s *socket) call(ctx context.Context, method, op string, q *request, answer any) error {
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.exchange(within, method, op, q, answer)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case within.Err() != nil:
		err = fmt.Errorf("no answer within %s", s.timeout)
	}
	return fmt.Errorf("driver at %s: %s: %w", s.path, op, err)
}

func (s *socket) exchange(ctx context.Context, method, op string, q *request, answer any) error {
	var body io.Reader
	if q != nil {
		text, err := json.Marshal(s.complete(ctx, *q))
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://driver/v1/"+op, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return broken(err)
	}
	defer resp.Body.Close()
	text, err := read(resp.Body, limitOf(op))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return failure(resp.StatusCode, text)
	}
	return decode(text, answer)
}

// complete adds what every request has.
func (s *socket) complete(ctx context.Context, q request) request {
	q.Cluster, q.Timeout = s.cluster, s.timeout.Milliseconds()
	if deadline, ok := ctx.Deadline(); ok {
		q.Timeout = max(1, time.Until(deadline).Milliseconds())
	}
	return q
}

// broken is why there is no answer. A driver that ends meanwhile may be asked again once it is back.
func broken(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // its URL says less than the socket
	}
	for _, ended := range []error{io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE} {
		if errors.Is(err, ended) {
			return fmt.Errorf("%w: the connection ended before the answer: %w", backend.ErrTemporary, err)
		}
	}
	return err
}

func limitOf(op string) int64 {
	if op == "list" || op == "attached" {
		return maxListing
	}
	return maxAnswer
}

func read(body io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, broken(err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errAnswer, limit)
	}
	return text, nil
}
