// SPDX-License-Identifier: Apache-2.0

package transfer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/transfer"
)

// sink keeps what arrived, and how each stream ended.
type sink struct {
	mu    sync.Mutex
	got   bytes.Buffer
	ends  chan error
	from  cluster.NodeID
	stall chan struct{} // where set, the receiver waits for it before it reads
}

func newSink() *sink { return &sink{ends: make(chan error, 16)} }

func (s *sink) receive(_ context.Context, from cluster.NodeID, h transfer.Header, r io.Reader) (transfer.Reply, error) {
	if s.stall != nil {
		<-s.stall
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = from
	_, err := io.Copy(&s.got, r)
	s.ends <- err
	return transfer.Reply{Snapshot: h.Snapshot}, err
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

func header() transfer.Header {
	return transfer.Header{Kind: transfer.KindSnapshot, Dataset: "d", Snapshot: cluster.Snapshot{Name: "e1-s1"}}
}

func open(t *testing.T, d *transfer.Dialer, way *link, limit *rate.Limiter) *transfer.Stream {
	t.Helper()
	s, err := d.Open(t.Context(), way.addr, beta, header(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s *transfer.Stream, b []byte) {
	t.Helper()
	if _, err := s.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestStreamArrivesWholeAndIsAnswered(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	s := open(t, d, way, nil)
	want := noise(40 << 20)
	if _, err := s.Write(want); err != nil {
		t.Fatal(err)
	}
	reply, err := s.CloseSend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if reply.Snapshot.Name != "e1-s1" || to.from != alpha {
		t.Errorf("reply %+v from %s", reply, to.from)
	}
	if !bytes.Equal(to.got.Bytes(), want) {
		t.Error("what arrived is not what was sent")
	}
	if _, err := s.CloseSend(t.Context()); err != nil {
		t.Errorf("a second CloseSend: %v", err)
	}
	s.Abort()
}

func TestEmptyStreamIsAnswered(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	if _, err := open(t, d, way, nil).CloseSend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-to.ends; err != nil {
		t.Errorf("receiver saw %v", err)
	}
}

func TestStreamResumesWhenConnectionsBreakAnywhere(t *testing.T) {
	for _, budget := range []int64{3000, 150_001, 1 << 20, 5_000_011} {
		to := newSink()
		d, way := serve(t, &transfer.Server{Receive: to.receive})
		want := noise(int(min(12<<20, 40*budget)))
		way.budget = budget
		if budget == 3000 {
			way.budget = 0 // the first connection lives until it is cut
		}
		s := open(t, d, way, nil)
		for off := 0; off < len(want); off += 1 << 16 {
			if _, err := s.Write(want[off:min(len(want), off+1<<16)]); err != nil {
				t.Fatal(err)
			}
			if budget == 3000 {
				way.cut(false)
			}
		}
		if _, err := s.CloseSend(t.Context()); err != nil {
			t.Fatalf("budget %d: %v", budget, err)
		}
		if !bytes.Equal(to.got.Bytes(), want) {
			t.Errorf("budget %d: what arrived is not what was sent", budget)
		}
	}
}

func TestVerdictIsAskedForAgainWhenTheLinkBreaksAtTheEnd(t *testing.T) {
	release := make(chan struct{})
	d, way := serve(t, &transfer.Server{Receive: func(_ context.Context, _ cluster.NodeID, h transfer.Header, r io.Reader) (transfer.Reply, error) {
		_, err := io.Copy(io.Discard, r)
		<-release
		return transfer.Reply{Snapshot: h.Snapshot}, err
	}})
	s := open(t, d, way, nil)
	write(t, s, noise(1000))
	answered := make(chan error, 1)
	go func() {
		_, err := s.CloseSend(context.WithoutCancel(t.Context()))
		answered <- err
	}()
	way.cut(true)
	close(release)
	way.cut(false)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

func TestRefusalReachesTheSenderWhileItWrites(t *testing.T) {
	d, way := serve(t, &transfer.Server{Receive: func(_ context.Context, _ cluster.NodeID, _ transfer.Header, r io.Reader) (transfer.Reply, error) {
		if _, err := io.CopyN(io.Discard, r, 100_000); err != nil {
			return transfer.Reply{}, err
		}
		return transfer.Reply{}, &transfer.Error{Code: "no-space", Message: "disk is full"}
	}})
	s := open(t, d, way, nil)
	var err error
	for err == nil {
		_, err = s.Write(noise(1 << 20))
	}
	refusal, ok := errors.AsType[*transfer.Error](err)
	if !ok || refusal.Code != "no-space" {
		t.Errorf("the sender was told %v", err)
	}
	s.Abort()
}

func TestReceiverThatStopsEarlyIsNotBelieved(t *testing.T) {
	d, way := serve(t, &transfer.Server{Receive: func(_ context.Context, _ cluster.NodeID, _ transfer.Header, r io.Reader) (transfer.Reply, error) {
		_, err := io.CopyN(io.Discard, r, 10)
		return transfer.Reply{}, err
	}})
	s := open(t, d, way, nil)
	write(t, s, noise(1000))
	if _, err := s.CloseSend(t.Context()); err == nil {
		t.Error("a receiver that had not seen the end was believed")
	}
}

func TestAbortNeverLooksLikeTheEnd(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	s := open(t, d, way, nil)
	write(t, s, noise(300_000))
	s.Abort()
	if err := <-to.ends; !errors.Is(err, transfer.ErrAborted) {
		t.Errorf("the receiver saw %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, transfer.ErrAborted) {
		t.Errorf("writing after the abort: %v", err)
	}
}

func TestSenderThatDiesCutsTheStreamShort(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive, ResumeFor: 50 * time.Millisecond})
	d.RetryFor = time.Millisecond
	s := open(t, d, way, nil)
	write(t, s, noise(300_000))
	way.cut(true)
	if err := <-to.ends; !errors.Is(err, transfer.ErrCut) {
		t.Errorf("the receiver saw %v", err)
	}
	if _, err := s.CloseSend(t.Context()); err == nil {
		t.Error("the sender believes it succeeded")
	}
}

func TestLaterStreamSupersedesOneThatHangs(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	first := open(t, d, way, nil)
	write(t, first, noise(1000))
	second := open(t, d, way, nil)
	if err := <-to.ends; !errors.Is(err, transfer.ErrSuperseded) {
		t.Errorf("the first receiver saw %v", err)
	}
	if _, err := second.CloseSend(t.Context()); err != nil {
		t.Error(err)
	}
	first.Abort()
}

func TestSlowReceiverHoldsTheSenderWithinTheWindow(t *testing.T) {
	to := newSink()
	to.stall = make(chan struct{})
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	s := open(t, d, way, nil)
	wrote := make(chan error, 1)
	want := noise(48 << 20)
	go func() { _, err := s.Write(want); wrote <- err }()
	select {
	case err := <-wrote:
		t.Fatalf("48 MiB went into a window of 16 MiB: %v", err)
	case <-time.After(300 * time.Millisecond): // long enough to fill every buffer on the way
	}
	close(to.stall)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if _, err := s.CloseSend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAbortLetsGoOfAStalledWrite(t *testing.T) {
	to := newSink()
	to.stall = make(chan struct{})
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	s := open(t, d, way, nil)
	wrote := make(chan error, 1)
	go func() { _, err := s.Write(make([]byte, 48<<20)); wrote <- err }()
	s.Abort()
	if err := <-wrote; !errors.Is(err, transfer.ErrAborted) {
		t.Errorf("the write ended with %v", err)
	}
	close(to.stall)
}

func TestBandwidthLimitHolds(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	start := time.Now()
	s := open(t, d, way, rate.NewLimiter(4<<20, 256<<10))
	write(t, s, make([]byte, 2<<20))
	if _, err := s.CloseSend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Errorf("2 MiB at 4 MiB/s took %v", took)
	}
}

func TestWrongPeerGetsNothing(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	s, err := d.Open(t.Context(), way.addr, "33333333-3333-4333-8333-333333333333", header(), nil)
	if err == nil {
		s.Abort()
		t.Fatal("a stream was opened to a node that is another")
	}
}

func TestEndOfContextEndsTheStream(t *testing.T) {
	to := newSink()
	d, way := serve(t, &transfer.Server{Receive: to.receive})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := d.Open(ctx, way.addr, beta, header(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = s.Write([]byte("more"))
	}
	if _, err := s.CloseSend(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("CloseSend after the end of the context: %v", err)
	}
	if err := <-to.ends; err == nil {
		t.Error("the receiver saw a whole stream")
	}
}
