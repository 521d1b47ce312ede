// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// DialInside connects to a TCP port within the namespace, as a client of the application would but without passing the gate.
func (n *Network) DialInside(ctx context.Context, namespace string, port int) error {
	return n.TalkInside(ctx, namespace, port, func(net.Conn) error { return nil })
}

// TalkInside is DialInside with a conversation, which ends with ctx at the latest.
func (n *Network) TalkInside(ctx context.Context, namespace string, port int, talk func(net.Conn) error) error {
	connection, err := n.connectInside(ctx, namespace, port)
	if err != nil {
		return fmt.Errorf("port %d in %s: %w", port, namespace, err)
	}
	defer context.AfterFunc(ctx, func() {
		_ = connection.SetDeadline(time.Unix(1, 0)) // one that is closed needs none
	})()
	return errors.Join(talk(connection), connection.Close())
}

func (n *Network) connectInside(ctx context.Context, namespace string, port int) (net.Conn, error) {
	inside, err := openNamespace(namespace)
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	address, err := addressIn(inside)
	if err != nil {
		return nil, err
	}
	return dialIn(ctx, inside, net.JoinHostPort(address, strconv.Itoa(port)))
}

// addressIn is the address that published ports lead to; the loopback one where there is no other.
func addressIn(inside netns.NsHandle) (string, error) {
	handle, err := netlink.NewHandleAt(inside)
	if err != nil {
		return "", fmt.Errorf("enter network namespace: %w", err)
	}
	defer handle.Close()
	addresses, err := steady(func() ([]netlink.Addr, error) { return handle.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return "", fmt.Errorf("list addresses of network namespace: %w", err)
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			return a.IP.String(), nil
		}
	}
	return "127.0.0.1", nil
}

// dialIn connects from the namespace. A socket belongs to the namespace that its thread was in when it was made, so the thread is
// taken there for that long; a thread that cannot come back is thrown away.
func dialIn(ctx context.Context, inside netns.NsHandle, address string) (net.Conn, error) {
	var connection net.Conn
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.GetFromPath(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := netns.Set(inside); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		// The socket is made on this thread: the address is a literal one, so nothing is looked up or tried in parallel.
		connection, err = new(net.Dialer).DialContext(ctx, "tcp4", address)
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		} // else this goroutine ends with its thread locked, which ends the thread
		done <- err
	}()
	err := <-done
	return connection, err
}
