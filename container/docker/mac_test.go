// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

const allFrames = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // in network order

// capture sees every frame that comes to the bridge from now on.
func capture(t *testing.T, bridge string) (senders func() []string) {
	t.Helper()
	device, err := net.InterfaceByName(bridge)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(socket); err != nil {
			t.Error(err)
		}
	})
	promiscuous := unix.PacketMreq{Ifindex: int32(device.Index), Type: unix.PACKET_MR_PROMISC}
	err = errors.Join(unix.SetsockoptPacketMreq(socket, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promiscuous),
		unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: allFrames, Ifindex: device.Index}))
	if err != nil {
		t.Fatal(err)
	}
	return func() (all []string) {
		frame := make([]byte, 1<<16)
		for {
			n, from, err := unix.Recvfrom(socket, frame, 0)
			if errors.Is(err, unix.EAGAIN) {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING && n >= 14 {
				all = append(all, net.HardwareAddr(frame[6:12]).String())
			}
		}
	}
}

// A switch or a neighbour that had learnt another address would send frames into the void after a move.
func TestFirstFrameHasTheAddressOfTheCluster(t *testing.T) {
	t.Parallel()
	e, c, config := own(t)
	join(t, e, config)
	senders := capture(t, c.Bridge)
	a := application(t, e, "listen=7000", "print=up", "wait")
	spec := container.Spec{Application: a, Address: config.Gateway.Next()}
	if _, err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	want := cluster.MACOf(spec.Address)
	for _, when := range []string{"made", "started again"} {
		start(t, e, a)
		dialUntilUp(t, net.JoinHostPort(spec.Address.String(), "7000"))
		seen := senders()
		if len(seen) == 0 || slices.ContainsFunc(seen, func(mac string) bool { return mac != want }) {
			t.Errorf("%s: frames came from %q; want some, all from %s", when, slices.Compact(seen), want)
		}
		killAll(t, a)
	}
}

// dialUntilUp waits until the application listens; a refusal is an answer of its namespace already.
func dialUntilUp(t *testing.T, address string) {
	t.Helper()
	for range 5000 {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			connection.Close()
			return
		}
		if !strings.Contains(err.Error(), "refused") {
			t.Fatal(err)
		}
	}
	t.Fatalf("nobody listens at %s", address)
}
