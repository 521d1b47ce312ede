// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/network"
)

// A stream to one application loses nothing and does not wait while others are published, moved and withdrawn.
func TestStreamIsUndisturbedByOthers(t *testing.T) { inEachFamily(t, streamIsUndisturbedByOthers) }

func streamIsUndisturbedByOthers(t *testing.T, f family) {
	const others, stall = 100, 200 * time.Millisecond
	c := newCluster(t, 3)
	address := application(0)
	serve(t, c.nodes[0].holder(t, address), 7000)
	c.nodes[0].live(t, address)
	all := []network.Publication{publication(address, 7001)}
	for _, m := range c.nodes {
		m.publish(t, all...)
	}
	var streams []*stream
	for _, m := range c.nodes {
		connection, err := dial(short(t), t, c.client, f.at(m.fabric.Underlay, 7001))
		must(t, err)
		streams = append(streams, startStream(connection))
	}
	for i := 1; i <= others; i++ {
		all = append(all, publication(application(i), 7100+i))
		if i%10 != 0 {
			continue
		}
		for _, m := range c.nodes {
			m.publish(t, all...)
		}
	}
	for i := 1; i <= others; i++ {
		c.nodes[i%3].enliven(t, application(i))
		c.nodes[i%3].deaden(t, application(i))
		c.nodes[(i+1)%3].enliven(t, application(i))
	}
	for _, m := range c.nodes {
		m.publish(t, all[:1]...)
		if m == c.nodes[0] {
			m.live(t, address)
		} else {
			m.live(t)
		}
	}
	for i, s := range streams {
		bytes, longest, err := s.end()
		t.Logf("stream through node %d: %d bytes, longest wait %v", i+1, bytes, longest)
		if err != nil || longest > stall || bytes == 0 {
			t.Errorf("stream through node %d: %d bytes, longest wait %v, %v", i+1, bytes, longest, err)
		}
	}
}

// stream sends bytes of a known sequence and checks what comes back.
type stream struct {
	connection net.Conn
	stop       chan struct{}
	done       chan error
	bytes      int
	longest    time.Duration
}

func startStream(connection net.Conn) *stream {
	s := &stream{connection: connection, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { s.done <- s.run() }()
	return s
}

func (s *stream) run() error {
	source := rand.NewChaCha8([32]byte{1})
	piece, back := make([]byte, 512), make([]byte, 512)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return nil
		case <-tick.C:
		}
		_, _ = source.Read(piece) // never fails
		start := time.Now()
		if err := s.connection.SetDeadline(start.Add(3 * time.Second)); err != nil {
			return err
		}
		if _, err := s.connection.Write(piece); err != nil {
			return err
		}
		if _, err := io.ReadFull(s.connection, back); err != nil {
			return err
		}
		if !bytes.Equal(piece, back) {
			return fmt.Errorf("other bytes came back after %d", s.bytes)
		}
		s.bytes += len(piece)
		s.longest = max(s.longest, time.Since(start))
	}
}

func (s *stream) end() (bytes int, longest time.Duration, err error) {
	close(s.stop)
	err = <-s.done
	s.connection.Close()
	return s.bytes, s.longest, err
}

// With many applications a move still changes the same few elements.
func TestMoveAmongManyChangesFewElements(t *testing.T) {
	const many = 1000
	c := newCluster(t, 2)
	var all []network.Publication
	var addrs []netip.Addr
	for i := range many {
		addrs = append(addrs, application(i))
		all = append(all, publication(application(i), 10000+i))
	}
	for _, m := range c.nodes {
		start := time.Now()
		m.publish(t, all...)
		t.Logf("%d published in %v", many, time.Since(start))
	}
	c.nodes[0].live(t, addrs...)
	moved := addrs[500]
	elements := c.nodes[0].countElements(t, func() { c.nodes[0].deaden(t, moved) })
	if elements > 3 {
		t.Errorf("a move of one of %d applications changes %d elements of the source; want 3", many, elements)
	}
	elements = c.nodes[1].countElements(t, func() { c.nodes[1].enliven(t, moved) })
	if elements > 3 {
		t.Errorf("a move of one of %d applications changes %d elements of the target; want 3", many, elements)
	}
	var took []time.Duration
	for i := range 10 {
		c.nodes[1].holder(t, addrs[i])
		start := time.Now()
		c.nodes[0].deaden(t, addrs[i])
		c.nodes[1].enliven(t, addrs[i])
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("moves of one of %d applications: %v", many, took)
	if took[len(took)/2] > soon {
		t.Errorf("a move of one of %d applications takes %v", many, took[len(took)/2])
	}
}

// countElements counts what the kernel tells of while something is done.
func (m *machine) countElements(t *testing.T, do func()) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	said, told := io.Pipe()
	lines := bufio.NewScanner(said)
	monitor := run.Command(ctx, "nft", "monitor")
	monitor.Stdout = told
	must(t, within(t, m.ns, monitor.Start))
	defer func() {
		cancel()
		said.Close()
		_ = monitor.Wait() // it ends no other way
	}()
	m.monitors++
	listening, done := fmt.Sprintf("listening%d", m.monitors), fmt.Sprintf("done%d", m.monitors)
	elements := 0
	// It says nothing when it begins to listen: a table comes and goes until it tells.
	heard := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-heard:
				return
			case <-tick.C:
				if err := within(t, m.ns, func() error { return commands("nft add table ip "+listening, "nft delete table ip "+listening) }); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for lines.Scan() && !strings.Contains(lines.Text(), listening) {
		continue
	}
	close(heard)
	asking.Wait()
	do()
	must(t, within(t, m.ns, func() error { return commands("nft add table ip " + done) }))
	for lines.Scan() && !strings.Contains(lines.Text(), "table ip "+done) {
		elements += strings.Count(lines.Text(), " element ")
	}
	return elements
}

// A move looks for what concerns its own application: thousands of strangers' connections and places do not make it slow.
func TestMoveAmongManyStrangers(t *testing.T) {
	const strangers = 10000
	c := newCluster(t, 1)
	m, address := c.nodes[0], application(1)
	m.live(t, address)
	var times []time.Duration
	measure := func() (slowest time.Duration) {
		for range 5 {
			start := time.Now()
			m.deaden(t, address)
			times = append(times, time.Since(start))
			m.enliven(t, address)
		}
		slices.Sort(times)
		slowest, times = times[2], nil
		return slowest
	}
	alone := measure()
	must(t, within(t, m.ns, func() error { return m.crowd(strangers) }))
	among := measure()
	t.Logf("Deaden alone %v, among %d strangers %v", alone, strangers, among)
	if among > alone+15*time.Millisecond {
		t.Errorf("Deaden takes %v among %d connections and places of others, %v alone", among, strangers, alone)
	}
	var left []*netlink.ConntrackFlow
	must(t, within(t, m.ns, func() (err error) {
		left, err = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		return err
	}))
	if len(left) < strangers {
		t.Errorf("%d connections are left of %d strangers'", len(left), strangers)
	}
}

// crowd makes connections and learned places of others.
func (m *machine) crowd(count int) error {
	bridge, err := netlink.LinkByName(clusterBridge)
	if err != nil {
		return err
	}
	tunnel, err := netlink.LinkByName("flocker-vx")
	if err != nil {
		return err
	}
	for i := range count {
		other := netip.AddrFrom4([4]byte{10, 144, byte(100 + i/250), byte(1 + i%250)})
		client := netip.AddrFrom4([4]byte{10, 9, 0, 100})
		flow := &netlink.ConntrackFlow{
			FamilyType: unix.AF_INET, TimeOut: 300,
			Forward: netlink.IPTuple{SrcIP: client.AsSlice(), DstIP: other.AsSlice(), SrcPort: uint16(1024 + i), DstPort: 7000, Protocol: unix.IPPROTO_UDP},
			Reverse: netlink.IPTuple{SrcIP: other.AsSlice(), DstIP: client.AsSlice(), SrcPort: 7000, DstPort: uint16(1024 + i), Protocol: unix.IPPROTO_UDP},
		}
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, flow); err != nil {
			return fmt.Errorf("make connection %d: %w", i, err)
		}
		mac, err := net.ParseMAC(cluster.MACOf(other))
		if err != nil {
			return err
		}
		place := &netlink.Neigh{LinkIndex: tunnel.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP, HardwareAddr: mac, MasterIndex: bridge.Attrs().Index}
		if err := netlink.NeighSet(place); err != nil {
			return fmt.Errorf("make place %d: %w", i, err)
		}
	}
	return nil
}
