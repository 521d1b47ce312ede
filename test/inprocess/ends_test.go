// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// troubles are ways in which a back end is not there.
func troubles() map[string]func(t *testing.T, n *node) (mend func()) {
	return map[string]func(t *testing.T, n *node) func(){"it fails": failing, "it hangs": hanging}
}

// failing lets every call of a node's second back end fail.
func failing(_ *testing.T, n *node) (mend func()) {
	fail := func(string) error { return errBroken }
	n.trouble.Store(&fail)
	return func() { n.trouble.Store(nil) }
}

// hanging lets the looks at a node's second back end not come back, and everything else that is asked of it.
func hanging(t *testing.T, n *node) (mend func()) {
	gate, over := make(chan struct{}), atomic.Bool{}
	hang := func(string) error {
		<-gate
		return errBroken // long after
	}
	n.trouble.Store(&hang)
	mend = func() {
		if !over.Swap(true) {
			n.trouble.Store(nil)
			close(gate)
		}
	}
	t.Cleanup(mend)
	return mend
}

// isPending waits until an object is pending on a node for a reason.
func (w *world) isPending(object, reason string) {
	w.t.Helper()
	w.until(object+" is pending: "+reason, func() bool {
		s, err := w.user.Status(w.t.Context())
		for _, p := range s.Pending {
			if err == nil && p.Object == object && strings.Contains(p.Reason, reason) {
				return true
			}
		}
		return false
	})
}

// removed waits until nothing is known of an application.
func (w *world) removed(app string) {
	w.t.Helper()
	w.until(app+" is gone", func() bool {
		_, err := w.user.Application(w.t.Context(), app)
		return errors.Is(err, cluster.ErrNotFound)
	})
}

func (w *world) removeApplication(app string) {
	w.t.Helper()
	if _, err := w.user.DeleteApplication(w.t.Context(), app); err != nil {
		w.t.Fatal(err)
	}
}

// destroyed waits until nothing is known of a dataset.
func (w *world) destroyed(id cluster.DatasetID) {
	w.t.Helper()
	w.until(string(id)+" is gone", func() bool {
		_, err := w.user.Dataset(w.t.Context(), string(id))
		return errors.Is(err, cluster.ErrNotFound)
	})
}

func (w *world) destroy(id cluster.DatasetID) {
	w.t.Helper()
	if _, err := w.user.DeleteDataset(w.t.Context(), string(id)); err != nil {
		w.t.Fatal(err)
	}
}

// lone makes a dataset that no application has, in a node's second back end.
func (w *world) lone(on *node) cluster.DatasetID {
	w.t.Helper()
	made, err := w.user.CreateDataset(w.t.Context(), api.DatasetRequest{Name: "lone", Node: on.name, Backend: "shared"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.until("it is made", func() bool { return on.shared.Disk().Writable(made.ID) })
	return made.ID
}

// keeps is that what is to be destroyed where nobody can look is known to be there.
func (w *world) keeps(id cluster.DatasetID) {
	w.t.Helper()
	d, err := w.user.Dataset(w.t.Context(), string(id))
	if err != nil || len(d.Copies) != 1 || !d.Copies[0].Head || d.Copies[0].Backend != "shared" {
		w.t.Errorf("of what is where nobody can look is known %+v, %v; want its copy", d, err)
	}
}

// A back end that is not there keeps nothing on the others waiting. What is on it goes on as it is, and what is asked of that meanwhile is
// done once it is back: nothing of it was taken for gone.
func TestOtherBackEndsGoOn(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			one, two := w.nodes[0], w.nodes[1]
			shared := []string{"shared"}
			w.deployIn("far", one, shared, nil)
			w.deployIn("doomed", one, shared, nil)
			w.deploy("near", one, 1, nil)
			lone := w.lone(one)
			w.rest()
			far, near := w.dataset("far-0"), w.dataset("near-0")
			farBegan, doomedBegan := one.started("far"), one.started("doomed")

			mend := trouble(t, one)
			one.looksAgain()
			w.isPending("node/"+string(one.id), "its storage shared cannot be used")
			w.isPending("dataset/"+string(far), "back end shared cannot be looked at")
			w.isPending("application/far", "back end shared cannot be looked at")

			w.deploy("new", one, 1, nil)
			if m := w.wait(w.ask("near", two)); m.Phase != cluster.MoveCleaned {
				t.Fatalf("the move on the other back end ended as %s: %s", m.Phase, m.Reason)
			}
			w.until("near serves on node2", func() bool { return two.heard("near") })
			w.removeApplication("near")
			w.removed("near")
			w.destroy(near)
			w.destroyed(near)

			w.removeApplication("doomed")
			w.destroy(lone)
			move := w.ask("far", two)
			w.isPending("application/doomed", "back end shared cannot be looked at")
			w.isPending("dataset/"+string(lone), "back end shared cannot be looked at")
			w.isPending("move/"+string(move), "back end shared cannot be looked at")
			one.looksAgain()
			w.keeps(lone)
			w.keeps(far)
			if !one.started("far").Equal(farBegan) || !one.heard("far") || !one.started("doomed").Equal(doomedBegan) {
				t.Error("what runs on a back end that is not there was restarted or stopped")
			}

			mend()
			w.removed("doomed")
			w.destroyed(lone)
			if m := w.wait(move); m.Phase != cluster.MoveCleaned {
				t.Errorf("the move of what was out of sight ended as %s: %s", m.Phase, m.Reason)
			}
			w.rest()
			if !two.heard("far") || one.shared.Disk().Writable(far) {
				t.Error("what was out of sight has not moved")
			}
		})
	}
}

// An agent that begins where a back end is not there takes nothing back that its former process told of that, and does the rest.
func TestAgentBeginsWithoutABackEnd(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			one := w.nodes[0]
			w.deployIn("far", one, []string{"shared"}, nil)
			lone := w.lone(one)
			w.rest()
			far := w.dataset("far-0")
			began := one.started("far")
			one.current().kill()
			mend := trouble(t, one)
			w.destroy(lone)
			one.start()
			w.isPending("dataset/"+string(lone), "back end shared cannot be looked at")
			w.deploy("new", one, 1, nil)
			w.keeps(lone)
			w.keeps(far)
			nodes, err := w.user.Nodes(t.Context())
			if err != nil || nodes[0].Further["shared"].Error == "" || !nodes[0].Further["shared"].Capabilities.Attaches || nodes[0].Further["shared"].Machine == "" {
				t.Errorf("of the back end is told %+v, %v; want why it is not there, and what it is", nodes, err)
			}
			if !one.started("far").Equal(began) || !one.heard("far") {
				t.Error("what runs on a back end that is not there was restarted or stopped")
			}
			mend()
			w.destroyed(lone)
			w.rest()
			if !one.started("far").Equal(began) {
				t.Error("what runs was restarted when its back end came back")
			}
		})
	}
}

// With no back end at all a node is still a member, says so, and runs what needs none.
func TestANodeWithoutAnyBackEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	one, two := w.nodes[0], w.nodes[1]
	w.deploy("db", one, 1, nil)
	w.deploy("plain", one, 0, nil)
	w.rest()
	began := one.started("db")
	one.current().kill()
	mend := failing(t, one)
	one.broken.Store(true)
	one.start()
	w.isPending("node/"+string(one.id), "its storage mem cannot be used: list: the disk does not answer; its storage shared cannot be used")
	w.deploy("web", one, 0, nil)
	if m := w.wait(w.ask("plain", two)); m.Phase != cluster.MoveCleaned {
		t.Errorf("the move of what has no dataset ended as %s: %s", m.Phase, m.Reason)
	}
	if !one.started("db").Equal(began) {
		t.Error("what runs was restarted or stopped")
	}
	mend()
	one.broken.Store(false)
	w.rest()
}

// A replica in a back end that cannot be looked at is neither forgotten nor taken over; once it can be, it is.
func TestNobodyIsTakenOverByWhatNobodySees(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	one, two := w.nodes[0], w.nodes[1]
	w.deploy("db", two, 1, asking)
	w.move("db", one)
	id := w.dataset("db-0")
	w.confined(one, "db")
	two.broken.Store(true)
	two.looksAgain()
	w.isPending("node/"+string(two.id), "its storage mem cannot be used")
	one.uplink.set(silent)
	w.until("node1 is given up", func() bool {
		a, err := w.user.Application(t.Context(), "db")
		return err == nil && a.Node == one.id && !w.alive(one)
	})
	_, err := w.user.FailOver(t.Context(), api.FailOverRequest{Application: "db", Node: two.name, MaxLoss: cluster.Duration(time.Hour)})
	if !errors.Is(err, cluster.ErrPrecondition) || !strings.Contains(err.Error(), errBroken.Error()) {
		t.Errorf("fail-over to where nobody can look: %v; want %v", err, cluster.ErrPrecondition)
	}
	d, err := w.user.Dataset(t.Context(), string(id))
	if err != nil || d.Owner != one.id || len(d.Copies) != 2 {
		t.Errorf("the dataset is %+v, %v; want it with both copies", d, err)
	}
	two.broken.Store(false)
	w.onlyAt("db", two)
	one.uplink.set(up)
	w.until("node1 has given db up", func() bool { _, here := one.found("db"); return !here })
}

func (w *world) alive(n *node) bool {
	all, err := w.user.Nodes(w.t.Context())
	for _, info := range all {
		if err == nil && info.ID == n.id {
			return info.IsAlive
		}
	}
	return false
}
