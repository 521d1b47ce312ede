// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flocker-project/flocker/backend"
)

var errLink = errors.New("the link broke")

// testBadStreams checks that a half snapshot never looks whole, nor a wrong one right.
func testBadStreams(t *testing.T, ha, hb Harness) {
	a, b := at(t, ha), at(t, hb)
	id := a.mounted()
	b.t.Cleanup(func() {
		if err := b.Destroy(context.WithoutCancel(t.Context()), id); err != nil {
			t.Error(err)
		}
	})
	for i := range 5 {
		a.write(id, fmt.Sprint("file", i), strings.Repeat(fmt.Sprint(i), 1000))
	}
	s, later := a.snapshot(id, 1, 1), a.snapshot(id, 1, 2)
	data := a.stream(id, s.Name, "")
	nothing := func(t *testing.T, what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("Receive of %s = nil; want an error", what)
		}
		if c := b.copy(id); c != nil {
			t.Fatalf("List after %s = %+v; want nothing", what, c)
		}
	}
	t.Run("CutShort", func(t *testing.T) {
		for _, n := range cuts(data) {
			what := fmt.Sprintf("%d of %d bytes", n, len(data))
			nothing(t, what, b.receive(id, s, "", bytes.NewReader(data[:n])))
			broken := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(errLink))
			err := b.receive(id, s, "", broken)
			nothing(t, what+" and a broken link", err)
			a.refused("Receive", err, errLink)
		}
	})
	t.Run("BrokenAtTheVeryEnd", func(t *testing.T) {
		whole := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errLink))
		nothing(t, "a whole stream without its end", b.receive(id, s, "", whole))
	})
	t.Run("Garbage", func(t *testing.T) {
		nothing(t, "text", b.receive(id, s, "", strings.NewReader("no stream at all, and long enough for a header")))
		nothing(t, "more after the end", b.receive(id, s, "", bytes.NewReader(append(bytes.Clone(data), 0))))
		flipped := bytes.Clone(data)
		flipped[len(flipped)/2] ^= 1
		nothing(t, "a flipped bit", b.receive(id, s, "", bytes.NewReader(flipped)))
	})
	t.Run("AnotherSnapshotThanAnnounced", func(t *testing.T) {
		nothing(t, "another lineage", b.receive(id, later, "", bytes.NewReader(data)))
		other := s
		other.ID = later.ID
		nothing(t, "another content", b.receive(id, other, "", bytes.NewReader(data)))
		nothing(t, "a difference instead of the whole", b.receive(id, later, "", bytes.NewReader(a.stream(id, later.Name, s.Name))))
		if err := b.receive(b.dataset(), s, "", bytes.NewReader(data)); err == nil {
			t.Error("Receive of another dataset's snapshot = nil; want an error")
		}
	})
	t.Run("EndsWithItsContext", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		go func() {
			if _, err := w.Write(data[:len(data)/2]); err == nil {
				cancel()
			}
		}()
		_, err := b.Receive(ctx, backend.Arrival{Dataset: id}, Saying(s), &contextReader{ctx: ctx, r: r})
		nothing(t, "half a stream and a cancelled context", err)
	})
	t.Run("AndThenTheWholeOne", func(t *testing.T) {
		b.must(b.receive(id, s, "", iotest.OneByteReader(bytes.NewReader(data))))
		if c := b.copy(id); c == nil || len(c.Snapshots) != 1 || c.Snapshots[0].ID != s.ID {
			t.Fatalf("List = %+v; want the snapshot", c)
		}
		err := b.receive(id, later, s.Name, bytes.NewReader(a.stream(id, later.Name, "")))
		if err == nil || len(b.names(id)) != 1 {
			t.Errorf("Receive of the whole instead of a difference = %v, %v; want an error and nothing new", err, b.names(id))
		}
		other := s
		other.ID = later.ID
		b.refused("Receive of other content under its name", b.receive(id, other, "", bytes.NewReader(data)), backend.ErrExists)
	})
}

// cuts are places to cut a stream at: its first bytes, its last, and some between.
func cuts(data []byte) []int {
	at := []int{0, 1, 10, 17, 30}
	for i := 1; i < 12; i++ {
		at = append(at, len(data)*i/12)
	}
	// The last command of a btrfs stream has 10 bytes, and before it the stream looks whole.
	return append(at, len(data)-40, len(data)-11, len(data)-10, len(data)-1)
}

// contextReader fails with its context, as a stream from the network does.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it is the reader of one call
	r   *io.PipeReader
}

func (c *contextReader) Read(p []byte) (int, error) {
	stop := context.AfterFunc(c.ctx, func() { c.r.CloseWithError(c.ctx.Err()) })
	defer stop()
	return c.r.Read(p)
}
