// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// answering listens and answers one word to every connection that asks, and again for every byte.
func answering(t *testing.T, inside netns.NsHandle, word byte) net.Listener {
	t.Helper()
	listener := listen(t, inside, ":7000")
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				one := make([]byte, 1)
				for {
					if _, err := connection.Read(one); err != nil {
						return
					}
					if _, err := connection.Write([]byte{word}); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener
}

// attempts are connections begun at a steady pace from many places, each of which asks one byte.
type attempts struct {
	stop  chan struct{}
	wait  sync.WaitGroup
	mu    sync.Mutex
	tries []try
}

type try struct {
	name  string
	began time.Time
	took  time.Duration
	word  byte
	err   error
}

// attempt begins so many connections a second altogether.
func attempt(t *testing.T, askers []asker, rate int) *attempts {
	t.Helper()
	a := &attempts{stop: make(chan struct{})}
	for _, from := range askers {
		a.wait.Go(func() {
			err := within(t, from.from, func() error { return a.from(from, time.Second*time.Duration(len(askers))/time.Duration(rate)) })
			if err != nil {
				t.Errorf("%s: %v", from.name, err)
			}
		})
	}
	return a
}

// from makes the sockets on its own thread, which is in the namespace, and leaves each to another.
func (a *attempts) from(from asker, every time.Duration) error {
	to, err := netip.ParseAddrPort(from.to)
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return nil
		case <-tick.C:
		}
		one := try{name: from.name, began: time.Now()}
		socket, err := unix.Socket(familyOf(to.Addr()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		a.wait.Go(func() {
			one.word, one.err = askOnce(socket, to)
			one.took = time.Since(one.began)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.tries = append(a.tries, one)
		})
	}
}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	return &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
}

func askOnce(socket int, to netip.AddrPort) (byte, error) {
	file := os.NewFile(uintptr(socket), "")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := file.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Connect(int(fd), sockaddr(to))
		return !errors.Is(failed, unix.EINPROGRESS) && !errors.Is(failed, unix.EALREADY)
	})
	if errors.Is(failed, unix.EISCONN) {
		failed = nil
	}
	if err := errors.Join(err, failed); err != nil {
		return 0, err
	}
	word := []byte{'?'}
	if _, err := file.Write(word); err != nil {
		return 0, err
	}
	_, err = file.Read(word)
	return word[0], err
}

func (a *attempts) end() []try {
	close(a.stop)
	a.wait.Wait()
	return a.tries
}

// pass lets time pass in which something else goes on.
func pass(t *testing.T, how time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(how):
	}
}

// attemptOnce begins one connection from everywhere and waits for all.
func attemptOnce(t *testing.T, askers []asker) []try {
	t.Helper()
	a := &attempts{stop: make(chan struct{})}
	for _, from := range askers {
		to, err := netip.ParseAddrPort(from.to)
		must(t, err)
		a.wait.Go(func() {
			one := try{name: from.name, began: time.Now()}
			var socket int
			one.err = within(t, from.from, func() (err error) {
				socket, err = unix.Socket(familyOf(to.Addr()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				return err
			})
			if one.err == nil {
				one.word, one.err = askOnce(socket, to)
			}
			one.took = time.Since(one.began)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.tries = append(a.tries, one)
		})
	}
	return a.end()
}
