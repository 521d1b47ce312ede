// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	valueSize = 1_000_000
	inFlight  = 8 // large requests sent before the first answer is read
	respLimit = 2 * time.Minute
)

// respConn speaks to Redis with as little between the program and the socket as there can be.
type respConn struct {
	net.Conn
	reader *bufio.Reader
}

func dialResp(ctx context.Context, at string) (*respConn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(respLimit)); err != nil {
		return nil, err
	}
	return &respConn{c, bufio.NewReaderSize(c, 256<<10)}, nil
}

// request encodes a command.
func request(words ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.Bytes()
}

// expect reads one line of an answer.
func (c *respConn) expect(want string) error {
	line, err := c.reader.ReadString('\n')
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(line); got != want {
		return fmt.Errorf("redis answered %q, not %q", got, want)
	}
	return nil
}

// pings times so many small requests, one after the other.
func (c *respConn) pings(n int) (waits []time.Duration, err error) {
	ping := request("PING")
	for range n {
		begun := time.Now()
		if _, err := c.Write(ping); err != nil {
			return nil, err
		}
		if err := c.expect("+PONG"); err != nil {
			return nil, err
		}
		waits = append(waits, time.Since(begun))
	}
	return waits, nil
}

// bulk sends half of so many megabytes to the server and fetches the other half, several at once.
func (c *respConn) bulk(megabytes int) (time.Duration, error) {
	value := strings.Repeat("flocker.io", valueSize/10)
	begun := time.Now()
	if err := c.pipelined(megabytes/2, request("SET", "bulk", value), func() error { return c.expect("+OK") }); err != nil {
		return 0, err
	}
	err := c.pipelined(megabytes/2, request("GET", "bulk"), func() error {
		if err := c.expect(fmt.Sprintf("$%d", valueSize)); err != nil {
			return err
		}
		_, err := io.CopyN(io.Discard, c.reader, valueSize+2)
		return err
	})
	return time.Since(begun), err
}

// pipelined sends a request so many times, the next ones while the answers of those before are under way.
func (c *respConn) pipelined(n int, ask []byte, answer func() error) error {
	sent := make(chan error, 1)
	room := make(chan struct{}, inFlight)
	ended := make(chan struct{})
	go func() {
		for range n {
			select {
			case room <- struct{}{}:
			case <-ended:
				sent <- nil
				return
			}
			if _, err := c.Write(ask); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var failed error
	for i := 0; i < n && failed == nil; i++ {
		failed = answer()
		<-room
	}
	close(ended)
	if failed != nil {
		_ = c.Conn.Close() // or the sender might wait for ever
	}
	if err := <-sent; failed == nil {
		failed = err
	}
	return failed
}
