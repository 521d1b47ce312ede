// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/network"
)

// keep has the node keep what comes to the application, while something is done on it.
func (h *holding) keep(t *testing.T, m *machine, do func() error) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Keep(ctx, h.address, do) }))
}

// forgetAll is what Docker does when it starts or removes a container with the application's address; it is told how many there were.
func (h *holding) forgetAll(forgotten *uint) func() error {
	return func() error {
		for _, f := range []family{four, six} {
			filter := &netlink.ConntrackFilter{}
			if err := filter.AddIP(netlink.ConntrackReplyAnyIP, f.of(h.address).AsSlice()); err != nil {
				return err
			}
			count, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, f.kernel(), filter)
			if err != nil {
				return err
			}
			*forgotten += count
		}
		return nil
	}
}

// tracked is how many connections to the application through the published port a node's kernel knows.
func (h *holding) tracked(t *testing.T, m *machine) (count int) {
	t.Helper()
	must(t, within(t, m.ns, func() error {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, h.kernel())
		for _, flow := range all {
			if flow.Forward.DstPort == 7001 && flow.Reverse.SrcIP.Equal(h.of(h.address).AsSlice()) {
				count++
			}
		}
		return err
	}))
	return count
}

// kernel is the kernel's number of the family.
func (f family) kernel() netlink.InetFamily {
	if f == six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// accepted opens an idle connection from each, and returns both ends.
func accepted(t *testing.T, listener net.Listener, askers []asker) (ends, idle []net.Conn) {
	t.Helper()
	for _, from := range askers {
		connection, err := dial(short(t), t, from.from, from.to)
		must(t, err)
		t.Cleanup(func() { connection.Close() })
		end, err := listener.Accept()
		must(t, err)
		t.Cleanup(func() { end.Close() })
		idle, ends = append(idle, connection), append(ends, end)
	}
	return ends, idle
}

// A container with the application's address is made on the target before the move, and removed from the source after it. Docker makes
// the kernel forget the connections then; what the application has to say comes to them all the same.
func TestIdleConnectionsOutliveContainersWithTheirAddress(t *testing.T) {
	inEachFamily(t, idleConnectionsOutliveContainersWithTheirAddress)
}

func idleConnectionsOutliveContainersWithTheirAddress(t *testing.T, f family) {
	for how, closeEnd := range map[string]func(net.Conn) error{
		"end":   net.Conn.Close,
		"reset": func(c net.Conn) error { return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()) },
	} {
		t.Run(how, func(t *testing.T) {
			h := newHolding(t, f)
			h.serving.Close()
			listener := listen(t, h.from, ":7000")
			ends, idle := accepted(t, listener, h.askers)
			for _, m := range h.nodes[1:] {
				var forgotten uint
				h.keep(t, m, h.forgetAll(&forgotten))
				if forgotten == 0 {
					t.Error("nothing was forgotten: there is nothing to be kept")
				}
			}
			for i, end := range ends {
				must(t, exchangeBack(end, idle[i]))
			}
			h.source.hold(t, h.address, holdLimit)
			for _, end := range ends {
				must(t, closeEnd(end))
			}
			for i, connection := range idle {
				must(t, connection.SetReadDeadline(time.Now().Add(inTime)))
				_, err := connection.Read(make([]byte, 1))
				if how == "end" && !errors.Is(err, io.EOF) || how == "reset" && !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("%s: %v; want the %s", h.askers[i].name, err, how)
				}
			}
		})
	}
}

// exchangeBack lets the application speak first.
func exchangeBack(end, idle net.Conn) error {
	limit := time.Now().Add(inTime)
	err := errors.Join(end.SetDeadline(limit), idle.SetDeadline(limit))
	if err != nil {
		return err
	}
	if _, err := end.Write([]byte("x")); err != nil {
		return err
	}
	_, err = idle.Read(make([]byte, 1))
	return err
}

// What the application says while its connections are forgotten arrives: it says it again.
func TestWhatIsSaidWhileConnectionsAreForgottenArrives(t *testing.T) {
	inEachFamily(t, whatIsSaidWhileConnectionsAreForgottenArrives)
}

func whatIsSaidWhileConnectionsAreForgottenArrives(t *testing.T, f family) {
	h := newHolding(t, f)
	h.serving.Close()
	ends, idle := accepted(t, listen(t, h.from, ":7000"), h.askers)
	h.keep(t, h.target, func() error {
		var forgotten uint
		err := h.forgetAll(&forgotten)()
		for _, end := range ends {
			_, wrote := end.Write([]byte("x"))
			err = errors.Join(err, wrote)
		}
		pass(t, 50*time.Millisecond)
		return err
	})
	for i, connection := range idle {
		must(t, connection.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := connection.Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: %v; want what was said", h.askers[i].name, err)
		}
	}
	if out := output(t, h.target.ns, "nft list ruleset"); strings.Contains(out, h.of(h.address).String()+" timeout") {
		t.Errorf("left of the keeping:\n%s", out)
	}
}

// What is kept is no hindrance to what has begun meanwhile, or begins afterwards from the same port of the client.
func TestKeptConnectionsAreInNobodysWay(t *testing.T) {
	inEachFamily(t, keptConnectionsAreInNobodysWay)
}

func keptConnectionsAreInNobodysWay(t *testing.T, f family) {
	h := newHolding(t, f)
	through := h.askers[3:5] // the target's own port
	begin := func(i int) net.Conn {
		var connection net.Conn
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{Port: 42000 + i}}
		must(t, within(t, through[i].from, func() (err error) {
			connection, err = dialer.DialContext(short(t), "tcp", through[i].to)
			return err
		}))
		must(t, connection.(*net.TCPConn).SetLinger(0)) // its port is free at once
		return connection
	}
	for name, during := range map[string]bool{"meanwhile": true, "afterwards": false} {
		var all []net.Conn
		for i := range through {
			connection := begin(i)
			must(t, exchange(short(t), connection))
			all = append(all, connection)
		}
		again := func() {
			for i := range all {
				all[i] = begin(i)
			}
		}
		h.keep(t, h.target, func() error {
			var forgotten uint
			err := h.forgetAll(&forgotten)()
			for _, connection := range all {
				must(t, connection.Close())
			}
			if during {
				again()
			}
			return err
		})
		if !during {
			again()
		}
		for i, connection := range all {
			if err := exchange(short(t), connection); err != nil {
				t.Errorf("%s: %s: a connection from the port of one that was kept: %v", through[i].name, name, err)
			}
			must(t, connection.Close())
		}
	}
}

// Connections through a port that has gone meanwhile stay forgotten, and are not known again.
func TestConnectionsOfPortsThatHaveGoneAreNotKept(t *testing.T) {
	inEachFamily(t, connectionsOfPortsThatHaveGoneAreNotKept)
}

func connectionsOfPortsThatHaveGoneAreNotKept(t *testing.T, f family) {
	h := newHolding(t, f)
	h.connect(t)
	if h.tracked(t, h.target) == 0 {
		t.Fatal("no connection through the target's port is known")
	}
	h.keep(t, h.target, func() error { return h.target.network.Publish(t.Context(), nil) })
	if left := h.tracked(t, h.target); left != 0 {
		t.Errorf("the port has gone, but %d connections through it are known", left)
	}
}

// What is done fails with its own error, and connections are kept all the same.
func TestConnectionsAreKeptWhereWhatIsDoneFails(t *testing.T) {
	h := newHolding(t, four)
	h.connect(t)
	failed := errors.New("no such image")
	err := h.target.on(t, func(ctx context.Context, n *network.Network) error {
		return n.Keep(ctx, h.address, func() error {
			var forgotten uint
			return errors.Join(h.forgetAll(&forgotten)(), failed)
		})
	})
	if !errors.Is(err, failed) {
		t.Errorf("Keep() = %v; want %v", err, failed)
	}
	if h.tracked(t, h.target) == 0 {
		t.Error("connections are forgotten")
	}
}
