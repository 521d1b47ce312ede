// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/cluster"
)

// A client may begin a connection from the port of one that the application has just reset. Connection tracking still knows that one,
// and takes the new one's first packet for a part of it.
func TestHoldKeepsConnectionsFromAPortThatWasUsedBefore(t *testing.T) {
	inEachFamily(t, holdKeepsConnectionsFromAPortThatWasUsedBefore)
}

func holdKeepsConnectionsFromAPortThatWasUsedBefore(t *testing.T, f family) {
	h := newHolding(t, f)
	h.serving.Close()
	resetting := listen(t, h.from, ":7000")
	again := func(i int, from asker) (connection net.Conn, err error) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{Port: 41000 + i}}
		err = within(t, from.from, func() (err error) {
			connection, err = dialer.DialContext(t.Context(), "tcp", from.to)
			return err
		})
		return connection, err
	}
	for i, from := range h.askers {
		connection, err := again(i, from)
		must(t, err)
		defer connection.Close()
		served, err := resetting.Accept()
		must(t, err)
		must(t, served.(*net.TCPConn).SetLinger(0))
		must(t, served.Close())
		if _, err := connection.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%s: a connection that is reset says %v", from.name, err)
		}
		must(t, connection.Close())
	}
	h.source.hold(t, h.address, holdLimit)
	resetting.Close()
	held := time.Now()
	var gap time.Duration
	released := make(chan struct{})
	var waiting errgroup.Group
	for i, from := range h.askers {
		waiting.Go(func() error {
			connection, err := again(i, from)
			if err != nil {
				t.Errorf("%s: refused %v after Hold: %v", from.name, time.Since(held), err)
				return nil
			}
			defer connection.Close()
			took := time.Since(held)
			<-released
			// The source's own kernel may refuse the answer that comes to it straight.
			if err := exchange(short(t), connection); err != nil && (f != six || i != 1) {
				t.Errorf("%s: not served: %v", from.name, err)
			}
			// Through the source's own port the former connection kept its client's address, and so does what connection tracking takes
			// for a part of it: the answer is lost, and the client asks again after a second, when Deaden has made it forgotten.
			straight := i == 0 || f == six && i == 1 // a node itself needs no masquerade by IPv6
			if limit := gap + inTime; took > limit && (!straight || took > limit+time.Second) {
				t.Errorf("%s: served after %v, of a hold of %v", from.name, took, gap)
			}
			return nil
		})
	}
	pass(t, 100*time.Millisecond)
	h.source.deaden(t, h.address)
	answering(t, h.to, 't')
	h.target.enliven(t, h.address)
	gap = time.Since(held)
	close(released)
	must(t, waiting.Wait())
}

// A packet may be on its way to the source when the target is announced.
func TestWhatComesToTheSourceAfterTheReleaseIsSentOn(t *testing.T) {
	inEachFamily(t, whatComesToTheSourceAfterTheReleaseIsSentOn)
}

func whatComesToTheSourceAfterTheReleaseIsSentOn(t *testing.T, f family) {
	h := newHolding(t, f)
	h.connect(t)
	h.source.hold(t, h.address, holdLimit)
	h.source.deaden(t, h.address)
	answering(t, h.to, 't')
	h.target.enliven(t, h.address)
	must(t, within(t, h.nodes[2].ns, func() error {
		return commands(fmt.Sprintf("bridge fdb replace %s dev flocker-vx dst %s self dynamic", cluster.MACOf(h.address), h.source.fabric.Underlay))
	}))
	for _, one := range attemptOnce(t, h.askers[6:]) { // those on the third node
		if one.err != nil || one.word != 't' || one.took > inTime {
			t.Errorf("%s: %c, %v after %v", one.name, one.word, one.err, one.took)
		}
	}
}

// An application that stops closes its connections: its clients are told, through whichever node they came.
func TestEstablishedConnectionsAreToldOfTheEnd(t *testing.T) {
	inEachFamily(t, establishedConnectionsAreToldOfTheEnd)
}

func establishedConnectionsAreToldOfTheEnd(t *testing.T, f family) {
	h := newHolding(t, f)
	h.serving.Close()
	closing := listen(t, h.from, ":7000")
	var ends, idle []net.Conn
	for _, from := range h.askers {
		connection, err := dial(short(t), t, from.from, from.to)
		must(t, err)
		defer connection.Close()
		end, err := closing.Accept()
		must(t, err)
		idle, ends = append(idle, connection), append(ends, end)
	}
	h.source.hold(t, h.address, holdLimit)
	for _, end := range ends {
		must(t, end.Close())
	}
	closing.Close()
	for i, connection := range idle {
		must(t, connection.SetReadDeadline(time.Now().Add(inTime)))
		if _, err := connection.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v; want the end", h.askers[i].name, err)
		}
	}
}
