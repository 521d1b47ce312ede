// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// testPartials lets the stream of a whole snapshot break off, and goes on with it.
func testPartials(t *testing.T, ha, hb Harness) {
	sender, sends := ha.Driver().(backend.Resumer)
	if !sends {
		t.Skipf("%T receives a snapshot at one go or not at all", ha.Driver())
	}
	t.Run("GoOn", func(t *testing.T) {
		a, b, id, s, data := large(t, ha, hb)
		from := len(data) * 2 / 3
		of := b.broken(id, s, data[:from])
		var rest bytes.Buffer
		a.must(sender.SendRest(t.Context(), id, of, &rest))
		if rest.Len() > len(data)/2 {
			t.Errorf("the rest is %d bytes of %d, of which %d had come", rest.Len(), len(data), from)
		}
		half := io.MultiReader(bytes.NewReader(rest.Bytes()[:rest.Len()/2]), iotest.ErrReader(errLink))
		_, err := b.Receive(t.Context(), backend.Arrival{Dataset: id, Rest: of.Token}, Saying(s), half)
		a.refused("Receive of a part of the rest", err, errLink)
		if of = b.partial(id); of.Token == "" {
			t.Fatal("nothing is left of what came at last")
		}
		rest.Reset()
		a.must(sender.SendRest(t.Context(), id, of, &rest))
		got, err := b.Receive(t.Context(), backend.Arrival{Dataset: id, Rest: of.Token}, Saying(s), &rest)
		if err != nil || got.ID != s.ID {
			t.Fatalf("Receive of the rest = %+v, %v; want %+v", got, err, s)
		}
		if again := b.partial(id); again.Token != "" {
			t.Errorf("Partial = %+v after the whole has come; want none", again)
		}
		b.must(b.Clone(t.Context(), id, s.Name, backend.Spec{Dataset: id, Epoch: 2}, ""))
		if b.content(id) != a.content(id) {
			t.Error("the content is not what was sent")
		}
	})
	t.Run("BeginAgain", func(t *testing.T) {
		_, b, id, s, data := large(t, ha, hb)
		of := b.broken(id, s, data[:len(data)/2])
		_, err := b.Receive(t.Context(), backend.Arrival{Dataset: id, Rest: of.Token + "1"}, Saying(s), bytes.NewReader(data))
		b.refused("Receive of the rest of something else", err, backend.ErrUnfit)
		b.must(b.receive(id, s, "", bytes.NewReader(data)))
		if again := b.partial(id); again.Token != "" {
			t.Errorf("Partial = %+v after the whole has come; want none", again)
		}
	})
	t.Run("RestOfNothing", func(t *testing.T) {
		a, _, id, s, _ := large(t, ha, hb)
		for what, of := range map[string]cluster.Partial{
			"no token":         {Snapshot: s.Name, ID: s.ID},
			"an option":        {Snapshot: s.Name, ID: s.ID, Token: "--help"},
			"a wrong token":    {Snapshot: s.Name, ID: s.ID, Token: "1-0-0-0"},
			"no such snapshot": {Snapshot: backend.Lineage{Epoch: 7, Serial: 7}.Name(), ID: s.ID, Token: "1"},
		} {
			var none bytes.Buffer
			a.refused("SendRest of "+what, sender.SendRest(t.Context(), id, of, &none), backend.ErrUnfit)
			if none.Len() > 0 {
				t.Errorf("SendRest of %s wrote %d bytes", what, none.Len())
			}
		}
	})
}

// large is a dataset with a snapshot of some MiB, and its stream.
func large(t *testing.T, ha, hb Harness) (a, b *node, id cluster.DatasetID, s cluster.Snapshot, data []byte) {
	t.Helper()
	a, b, id = pair(t, ha, hb)
	random := rand.NewChaCha8([32]byte{})
	for i := range 8 {
		content := make([]byte, 1<<20)
		_, _ = random.Read(content) // it never fails
		a.must(a.Write(id, fmt.Sprint("file", i), content))
	}
	s = a.snapshot(id, 1, 1)
	a.must(a.Unmount(t.Context(), id))
	return a, b, id, s, a.stream(id, s.Name, "")
}

// broken lets a stream break off and the driver's process die, and says what is left of it, which nobody sees. Without it the test ends.
func (n *node) broken(id cluster.DatasetID, s cluster.Snapshot, data []byte) cluster.Partial {
	n.t.Helper()
	err := n.receive(id, s, "", io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errLink)))
	n.refused("Receive", err, errLink)
	n.restart()
	if c := n.copy(id); c != nil {
		n.t.Fatalf("List = %+v; want nothing", c)
	}
	of := n.partial(id)
	if of.Token == "" {
		n.t.Skip("what is installed here cannot go on with a receive that broke off")
	}
	return of
}

func (n *node) partial(id cluster.DatasetID) cluster.Partial {
	n.t.Helper()
	of, err := n.Driver().(backend.Resumer).Partial(context.WithoutCancel(n.t.Context()), id) //nolint:forcetypeassert // testPartials has looked
	n.must(err)
	return of
}
