// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

// lost is a node that is not heard any more, with an application that may be taken over.
type lost struct {
	*stage
	app  cluster.Application
	seen cluster.Observed // what the node was last seen to have
	held map[string]cluster.Observed
}

func newLost(t *testing.T) *lost {
	s := newStage(t, "a", "b", "c")
	s.deploy("db", "a")
	id := s.dataset("db").ID
	replica := func(age time.Duration) cluster.Observed {
		return cluster.Observed{BootID: "boot-1", Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Snapshots: []cluster.Snapshot{
			{Name: "e1-s1", Epoch: 1, Serial: 1, Created: time.Now().Add(-age)},
		}}}}
	}
	a, err := s.service.GetApplication(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	l := &lost{stage: s, app: a.Application, seen: cluster.Observed{
		BootID: "boot-1", Confined: []string{"db"}, Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Head: true, Epoch: 1}},
	}, held: map[string]cluster.Observed{"b": replica(5 * time.Minute), "c": replica(time.Minute)}}
	l.app.FailOver = &cluster.FailOver{MaxLoss: cluster.Duration(time.Hour)}
	return l
}

// tells has all nodes report.
func (l *lost) tells() {
	l.t.Helper()
	l.put(l.app)
	l.report("a", l.seen)
	for name, o := range l.held {
		l.report(name, o)
	}
}

// goes has all nodes report, ends the session of node a, and has the control service look.
func (l *lost) goes() {
	l.t.Helper()
	l.tells()
	l.look()
	l.at("a") // it is heard
	l.die("a")
	l.look()
}

func (l *lost) put(a cluster.Application) {
	l.t.Helper()
	_, err := l.store.Update(l.t.Context(), func(tx *store.Tx) error { return store.Put(tx, store.Applications.Under(a.Name), a) })
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lost) look() {
	l.t.Helper()
	if err := l.service.FailOverRound(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lost) at(node string) {
	l.t.Helper()
	a, err := l.service.GetApplication(l.t.Context(), "db")
	d := l.dataset("db")
	if want := l.actors[node].id; err != nil || a.Node != want || d.Owner != want {
		l.t.Errorf("application on %s and dataset on %s, %v; want %s", a.Node, d.Owner, err, want)
	}
	if was := node == "a"; (d.Epoch == 1) != was || (d.Adopt == "") != was {
		l.t.Errorf("dataset of epoch %d, to be made of %q", d.Epoch, d.Adopt)
	}
}

func TestUnheardNodesApplicationIsTakenOverByTheNewestReplica(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	l.goes()
	l.at("c")
	l.look()
	if d := l.dataset("db"); d.Epoch != 2 {
		t.Errorf("taken over again, to epoch %d", d.Epoch)
	}
}

// warned compares what users are warned of with a part of it; empty for nothing. The application's node is alive.
func (l *lost) warned(want string) {
	l.t.Helper()
	a, err := l.service.GetApplication(l.t.Context(), "db")
	if got := strings.Join(a.Warnings, "; "); err != nil || (got == "") != (want == "") || !strings.Contains(got, want) {
		l.t.Errorf("warned of %q, %v; want %q", got, err, want)
	}
}

func TestUsersAreWarnedOfWhatWouldNotBeTakenOver(t *testing.T) {
	t.Parallel()
	for want, but := range map[string]func(l *lost){
		"a has not made sure": func(l *lost) { l.seen.Confined = nil },
		"on c, lacks the last 1m0s, more than max_loss (30s)": func(l *lost) { l.app.FailOver.MaxLoss = cluster.Duration(30 * time.Second) },
		"no other node has a replica":                         func(l *lost) { l.held = nil },
		"cannot keep a node out": func(l *lost) {
			l.seen.Storage = cluster.Storage{Backend: "store", Capabilities: cluster.Capabilities{Attaches: true}}
		},
		"": func(*lost) {},
	} {
		l := newLost(t)
		but(l)
		l.tells()
		l.warned(want)
	}
}

func TestNothingIsTakenOverUnasked(t *testing.T) {
	t.Parallel()
	storage := func(can cluster.Capabilities) cluster.Storage {
		return cluster.Storage{Backend: "store", Capabilities: can}
	}
	for name, but := range map[string]func(l *lost){
		"that does not ask for it":         func(l *lost) { l.app.FailOver = nil },
		"whose node did not confine it":    func(l *lost) { l.seen.Confined = []string{"another"} },
		"that another boot had confined":   func(l *lost) { l.seen.BootID = "boot-0" },
		"whose replicas are too old":       func(l *lost) { l.app.FailOver.MaxLoss = cluster.Duration(30 * time.Second) },
		"of which there is no replica":     func(l *lost) { l.held = nil },
		"before its time":                  func(l *lost) { l.app.FailOver.After = cluster.Duration(time.Hour) },
		"that moves":                       func(l *lost) { l.app.Move = l.move("db", "b").ID },
		"in a store that nobody confirmed": func(l *lost) { l.unconfirmed() },
		"that shares data with one that does not ask": func(l *lost) {
			other := l.app
			other.Name, other.FailOver = "reader", nil
			other.Volumes = slices.Clone(other.Volumes)
			other.Volumes[0].ReadOnly = true
			l.put(other)
			l.seen.Confined = append(l.seen.Confined, "reader")
		},
		"on storage that keeps nobody out": func(l *lost) {
			l.seen.Storage = storage(cluster.Capabilities{Attaches: true})
			for name, o := range l.held {
				o.Storage = l.seen.Storage
				l.held[name] = o
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLost(t)
			but(l)
			l.goes()
			l.at("a")
		})
	}
}

// unconfirmed makes the store one that was restored from a backup.
func (l *lost) unconfirmed() {
	l.t.Helper()
	_, err := l.store.Update(l.t.Context(), func(tx *store.Tx) error {
		meta, err := store.Get(l.t.Context(), tx, store.MetaKey)
		meta.Unconfirmed = true
		return errors.Join(err, store.Put(tx, store.MetaKey, meta))
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func TestUnheardNodesVolumesAreTakenOverWhereTheirStorageFences(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	l.app.FailOver.MaxLoss = 0
	l.seen.Confined = nil // the storage's fence is enough
	l.seen.Storage = cluster.Storage{Backend: "rbd", Capabilities: cluster.Capabilities{Attaches: true, Fences: true}}
	l.held = map[string]cluster.Observed{"b": {Storage: l.seen.Storage}, "c": {Storage: cluster.Storage{Backend: "btrfs"}}}
	l.goes()
	if d := l.dataset("db"); d.Owner != l.actors["b"].id || d.Eviction.Node != l.actors["a"].id {
		t.Errorf("got %+v", d.Dataset)
	}
}

// One with data of both kinds needs both proofs.
func TestUnheardNodesApplicationWithBothKindsOfStorage(t *testing.T) {
	t.Parallel()
	for _, proven := range []bool{true, false} {
		l := newLost(t)
		fast := cluster.Dataset{ID: cluster.DatasetID(uuid.NewString()), Name: "wal", Owner: l.actors["a"].id, Backend: "shared", Epoch: 1, Born: true}
		_, err := l.store.Update(t.Context(), func(tx *store.Tx) error { return store.Put(tx, store.Datasets.Under(string(fast.ID)), fast) })
		if err != nil {
			t.Fatal(err)
		}
		l.app.Volumes = append(l.app.Volumes, cluster.Volume{Dataset: fast.ID, MountPoint: "/wal"})
		further := map[string]cluster.Storage{"shared": {Backend: "shared", Kind: "rbd", Capabilities: cluster.Capabilities{Attaches: true, Fences: true}}}
		own := cluster.Storage{Backend: "btrfs", Capabilities: cluster.Capabilities{Replicates: true}}
		l.seen.Storage, l.seen.Further = own, further
		for name, o := range l.held {
			o.Storage, o.Further = own, further
			l.held[name] = o
		}
		if !proven {
			l.seen.Confined = nil
			l.goes()
			l.at("a")
			continue
		}
		l.goes()
		l.at("c")
		if d := l.dataset("wal"); d.Eviction.Node != l.actors["a"].id || d.Owner != l.actors["c"].id {
			t.Errorf("the volume is %+v", d.Dataset)
		}
	}
}

// It is taken over as soon as what it waits for is there, by a process that goes on.
func TestWhatCannotBeTakenOverIsTakenOverLater(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	held := l.held
	l.held = nil
	go l.service.Tend(l.t.Context()) //nolint:errcheck // it ends with the test
	l.goes()
	l.at("a")
	events := l.changes()
	l.report("b", held["b"])
	for l.dataset("db").Owner == l.actors["a"].id {
		<-events
	}
	l.at("b")
}

// changes tells of each change of the store.
func (l *lost) changes() <-chan struct{} {
	l.t.Helper()
	events := make(chan struct{}, 1)
	rev, err := l.store.Read(l.t.Context(), func(*store.Tx) error { return nil })
	if err != nil {
		l.t.Fatal(err)
	}
	go l.store.Watch(l.t.Context(), rev+1, func(store.Batch) error { //nolint:errcheck // it ends with the test
		select {
		case events <- struct{}{}:
		default:
		}
		return nil
	})
	return events
}

func TestRenewNamesWhatIsTheNodesOwn(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	s.deploy("other", "b")
	ask := func() (api.RenewReply, error) {
		return s.service.Renew(t.Context(), s.actors["a"].id, api.RenewRequest{Session: s.actors["a"].session, Applications: []string{"other", "db", "none"}})
	}
	if reply, err := ask(); err != nil || !slices.Equal(reply.Applications, []string{"db"}) {
		t.Errorf("Renew() = %v, %v; want db", reply, err)
	}
	l := &lost{stage: s}
	l.unconfirmed()
	if reply, err := ask(); err != nil || len(reply.Applications) > 0 {
		t.Errorf("Renew() of a store that nobody confirmed = %v, %v", reply, err)
	}
	s.die("a")
	_, err := ask()
	wantError(t, err, cluster.ErrPrecondition)
}

// What an answer allows rests on the session's lasting for its whole time-out from then on.
func TestRenewProlongsTheSession(t *testing.T) {
	if testing.Short() {
		t.Skip("takes longer than a session's time-out")
	}
	t.Parallel()
	s := newStage(t, "a", "b")
	var took time.Duration
	tick := time.NewTicker(control.SessionTTL / 4)
	defer tick.Stop()
	for begun := time.Now(); took < control.SessionTTL*3/2; took = time.Since(begun) {
		<-tick.C
		if _, err := s.service.Renew(t.Context(), s.actors["a"].id, api.RenewRequest{Session: s.actors["a"].session}); err != nil {
			t.Fatalf("after %v: %v", took, err)
		}
	}
	_, err := s.service.Renew(t.Context(), s.actors["b"].id, api.RenewRequest{Session: s.actors["b"].session})
	wantError(t, err, cluster.ErrPrecondition) // the other's has ended
}

// Of applications that share data the others go with the first, and nobody is told that they cannot be.
func TestApplicationsThatShareDataAreTakenOverTogether(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	other := l.app
	other.Name, other.Volumes = "reader", slices.Clone(l.app.Volumes)
	other.Volumes[0].ReadOnly = true
	l.put(other)
	l.seen.Confined = append(l.seen.Confined, "reader")
	l.goes()
	l.at("c")
	if err := l.service.Succeed(t.Context(), "reader"); err != nil {
		t.Errorf("of the second one: %v", err)
	}
}
