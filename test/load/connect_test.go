// SPDX-License-Identifier: Apache-2.0

package load_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/flocker-project/flocker/test/load"
)

func start(t *testing.T, within time.Duration, addresses ...string) *load.Connector {
	t.Helper()
	c := &load.Connector{Addresses: addresses, PerSecond: 500, Within: within}
	ctx, cancel := context.WithCancel(t.Context())
	c.Start(ctx)
	t.Cleanup(func() { cancel(); c.Stop() })
	return c
}

// await looks until what the connector saw is as it should be.
func await(t *testing.T, c *load.Connector, what string, is func(load.Attempts) bool) load.Attempts {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		seen := c.Since(time.Time{})
		if is(seen) {
			return seen
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waiting for %s: %+v", what, seen)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// accept counts the connections of each end of a listener until that closes.
func accept(l net.Listener) (counted chan int) {
	counted = make(chan int, 1)
	go func() {
		n := 0
		for {
			conn, err := l.Accept()
			if err != nil {
				counted <- n
				return
			}
			n++
			conn.Close()
		}
	}()
	return counted
}

func TestEveryAddressIsConnectedToInTurn(t *testing.T) {
	one, two := listen(t), listen(t)
	ones, twos := accept(one), accept(two)
	c := start(t, time.Second, one.Addr().String(), two.Addr().String())
	await(t, c, "100 connections", func(a load.Attempts) bool { return a.Attempts >= 100 })
	c.Stop()
	seen := c.Since(time.Time{})
	if seen.Bad() != 0 || seen.Longest <= 0 || seen.Longest > time.Second {
		t.Errorf("Since() = %+v; want connections only", seen)
	}
	one.Close()
	two.Close()
	if n, m := <-ones, <-twos; n < 49 || m < 49 || n+m > seen.Attempts {
		t.Errorf("%d and %d connections were accepted of %d", n, m, seen.Attempts)
	}
	if later := c.Since(time.Now()); later.Attempts != 0 || later.Longest != 0 {
		t.Errorf("Since(now) after the end = %+v; want nothing", later)
	}
}

func TestRefusedIsCounted(t *testing.T) {
	l := listen(t)
	l.Close()
	c := start(t, time.Second, l.Addr().String())
	seen := await(t, c, "20 refusals", func(a load.Attempts) bool { return a.Refused >= 20 })
	if seen.Bad() != seen.Refused || seen.Last == nil {
		t.Errorf("Since() = %+v; want refusals only, and a reason", seen)
	}
}

// full is a listener with no room for another connection: who comes waits.
func full(t *testing.T) (address string) {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	if err := syscall.Listen(socket, 0); err != nil {
		t.Fatal(os.NewSyscallError("listen", err))
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(os.NewSyscallError("getsockname", err))
	}
	port := name.(*syscall.SockaddrInet4).Port
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func TestWaitIsTimedWhileItLastsAndWhenItEnds(t *testing.T) {
	address := full(t)
	c := start(t, 300*time.Millisecond, address)
	began := time.Now()
	seen := await(t, c, "a wait under way", func(a load.Attempts) bool { return a.Longest > 100*time.Millisecond })
	if seen.Bad() != 0 {
		t.Errorf("Since() = %+v before any attempt is over; want none that failed", seen)
	}
	await(t, c, "attempts that time out", func(a load.Attempts) bool { return a.TimedOut >= 20 })
	now := time.Now()
	c.Stop()
	if err := c.Settled(t.Context(), now); err != nil {
		t.Errorf("Settled() after the end: %v", err)
	}
	seen = c.Since(began)
	if seen.Bad() != seen.TimedOut || seen.Longest < 300*time.Millisecond {
		t.Errorf("Since() = %+v; want attempts that timed out after 300ms", seen)
	}
	for _, w := range c.Waits(began) {
		if w.Address != address || w.Began.Before(began.Add(-time.Second)) || (w.Err == nil && w.Took > time.Second) {
			t.Errorf("Waits() has %+v", w)
		}
	}
}

func TestEndGivesUpWhatIsUnderWay(t *testing.T) {
	address := full(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := &load.Connector{Addresses: []string{address}, PerSecond: 500, Within: time.Hour}
	c.Start(ctx)
	await(t, c, "attempts under way", func(a load.Attempts) bool { return a.Longest > 20*time.Millisecond })
	cancel()
	c.Stop()
	if seen := c.Since(time.Time{}); seen.Bad() != 0 {
		t.Errorf("Since() = %+v; want nothing counted of what was given up", seen)
	}
}
