// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

func testCrashes(t *testing.T, h Harness) {
	t.Run("HalfMadeThingsAreNeverSeen", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.Interrupt(t, id)
		n.restart()
		if c := n.copy(id); c != nil {
			t.Fatalf("List = %+v; want nothing", c)
		}
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}))
		if got := n.content(id); got != text(nil) {
			t.Errorf("content = %s; want nothing", got)
		}
	})
	t.Run("WholeThingsOutliveThem", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.must(n.Unmount(t.Context(), id))
		n.Interrupt(t, id)
		n.restart()
		c := n.copy(id)
		if c == nil || !c.Head || c.Epoch != 1 || len(c.Snapshots) != 1 || c.Snapshots[0].ID != s.ID {
			t.Fatalf("List = %+v; want the head and its snapshot", c)
		}
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want the first file", got)
		}
		n.must(n.Released(t.Context(), id, s.Name))
	})
}

func testConcurrency(t *testing.T, h Harness) {
	n := at(t, h)
	var ids []cluster.DatasetID
	for range 8 {
		ids = append(ids, n.dataset())
	}
	var all sync.WaitGroup
	errs := make(chan error, 2*len(ids))
	for i, id := range ids {
		all.Go(func() { errs <- n.live(id, fmt.Sprint(i)) })
		all.Go(func() {
			_, err := n.List(t.Context())
			errs <- err
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		n.must(err)
	}
	for i, id := range ids {
		if got, want := n.content(id), fmt.Sprintf(`map["who":"%d"]`, i); got != want {
			t.Errorf("dataset %d = %s; want %s", i, got, want)
		}
		if got := n.names(id); !slices.Equal(got, []string{backend.Lineage{Epoch: 1, Serial: 2}.Name()}) {
			t.Errorf("snapshots of dataset %d = %v; want the second", i, got)
		}
	}
}

// live takes one dataset through everything, beside the others.
func (n *node) live(id cluster.DatasetID, who string) error {
	ctx := n.t.Context()
	if err := n.Create(ctx, backend.Spec{Dataset: id, Epoch: 1}); err != nil {
		return err
	}
	if err := n.Mount(ctx, id, n.Path(id)); err != nil {
		return err
	}
	if err := n.Write(id, "who", []byte(who)); err != nil {
		return err
	}
	one, err := n.Snapshot(ctx, id, backend.Lineage{Epoch: 1, Serial: 1})
	if err != nil {
		return err
	}
	if err := n.Unmount(ctx, id); err != nil {
		return err
	}
	two, err := n.Snapshot(ctx, id, backend.Lineage{Epoch: 1, Serial: 2})
	if err != nil {
		return err
	}
	return errors.Join(n.Released(ctx, id, two.Name), n.DeleteSnapshot(ctx, id, one.Name))
}

// testLeavesNothing comes last: all the other tests have destroyed what they made.
func testLeavesNothing(t *testing.T, pools ...Harness) {
	for _, h := range pools {
		n := at(t, h)
		n.restart()
		copies, err := n.List(t.Context())
		n.must(err)
		if len(copies) > 0 {
			t.Errorf("List = %+v; want nothing", copies)
		}
	}
}
