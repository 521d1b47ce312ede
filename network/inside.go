// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// DialInside connects to a TCP port within the namespace, as a client of the application would but without passing the gate.
func (n *Network) DialInside(ctx context.Context, namespace string, port int) error {
	inside, err := openNamespace(namespace)
	if err != nil {
		return fmt.Errorf("port %d in %s: %w", port, namespace, err)
	}
	defer inside.Close()
	address, err := addressIn(inside)
	if err != nil {
		return fmt.Errorf("port %d in %s: %w", port, namespace, err)
	}
	if err := dialIn(ctx, inside, net.JoinHostPort(address, strconv.Itoa(port))); err != nil {
		return fmt.Errorf("port %d in %s: %w", port, namespace, err)
	}
	return nil
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
func dialIn(ctx context.Context, inside netns.NsHandle, address string) error {
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
		err = dial(ctx, address)
		if back := netns.Set(home); back != nil {
			// This goroutine ends with its thread locked, which ends the thread.
			done <- errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// dial makes its socket on the calling thread: the address is a literal one, so nothing is looked up or tried in parallel.
func dial(ctx context.Context, address string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	return connection.Close()
}
