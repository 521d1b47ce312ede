// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

func (f *fixture) user(name string, role pki.Role) *api.Client {
	f.t.Helper()
	creds := f.credentials(f.authority.IssueUser(name, role))
	c := api.NewClient([]string{f.users}, pki.ClientTLS(creds, pki.ExpectControl()))
	f.t.Cleanup(c.Close)
	return c
}

// database is an application with a dataset of its own, both by name.
func database(name string, port int, node *node) api.DeployRequest {
	return api.DeployRequest{
		Applications: []cluster.Application{{
			Name: name, Image: "postgres:17", Node: cluster.NodeID(node.request.Name),
			Ports:   []cluster.Port{{Internal: 5432, External: port}},
			Volumes: []cluster.Volume{{Dataset: cluster.DatasetID(name + "-data"), MountPoint: "/var/lib/postgresql/data"}},
		}},
		Datasets: []cluster.Dataset{{Name: name + "-data"}},
	}
}

func TestDeployCreatesThenChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n1 := f.node("node1")
	admin := f.user("alice", pki.RoleAdmin)
	first, err := admin.Deploy(t.Context(), database("db", 5432, n1))
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Actions) != 2 || first.Actions[0].Verb != api.DeployCreate || first.Actions[1].Verb != api.DeployCreate {
		t.Fatalf("first: %+v", first.Actions)
	}
	second, err := admin.Deploy(t.Context(), database("db", 5432, n1))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range second.Actions {
		if a.Verb != api.DeployKeep {
			t.Errorf("second: %+v", a)
		}
	}
	_, err = admin.Deploy(t.Context(), database("other", 5432, n1))
	wantError(t, err, cluster.ErrConflict)
	st, err := admin.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Applications) != 1 || len(st.Datasets) != 1 {
		t.Errorf("a refused deployment left something: %+v", st)
	}
	if len(st.Pending) == 0 {
		t.Error("what is not made yet is pending with a reason")
	}
}

func TestPlacementChangeIsAMoveThroughItsPhases(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n1, n2 := f.node("node1"), f.node("node2")
	admin := f.user("alice", pki.RoleAdmin)
	if _, err := admin.Deploy(t.Context(), database("db", 5432, n1)); err != nil {
		t.Fatal(err)
	}
	reply, err := admin.Deploy(t.Context(), database("db", 5432, n2))
	if err != nil {
		t.Fatal(err)
	}
	id := reply.Actions[len(reply.Actions)-1].Move
	if id == "" {
		t.Fatalf("no move: %+v", reply.Actions)
	}
	_, err = admin.DeleteDataset(t.Context(), "db-data")
	wantError(t, err, cluster.ErrConflict)

	info, err := admin.Move(t.Context(), string(id))
	if err != nil {
		t.Fatal(err)
	}
	m := info.Move
	for _, p := range []cluster.MovePhase{cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting} {
		m, err = n1.client.Transition(t.Context(), id, api.MoveTransition{
			Session: n1.session.ID, Action: api.ActionPhase, Phase: p, Attempt: m.Attempt, Revision: m.Revision,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	stale := api.MoveTransition{
		Session: n1.session.ID, Action: api.ActionHandOver, Attempt: m.Attempt, Revision: m.Revision - 1,
		Released: map[cluster.DatasetID]cluster.Epoch{m.Datasets[0]: 1},
	}
	_, err = n1.client.Transition(t.Context(), id, stale)
	wantError(t, err, cluster.ErrConflict)
	if now, ok := api.CurrentMove(err); !ok || now.Revision != m.Revision {
		t.Errorf("the refusal carries %+v, %v", now, ok)
	}
	stale.Revision = m.Revision
	if m, err = n1.client.Transition(t.Context(), id, stale); err != nil {
		t.Fatal(err)
	}
	d, err := admin.Dataset(t.Context(), "db-data")
	if err != nil {
		t.Fatal(err)
	}
	if d.Owner != n2.id || d.Epoch != 2 || d.Move != id {
		t.Errorf("after the hand-over: %+v", d.Dataset)
	}
	_, err = n1.client.Transition(t.Context(), id, api.MoveTransition{Session: n1.session.ID, Action: api.ActionCommit, Attempt: 1})
	wantError(t, err, cluster.ErrForbidden)
	if m, err = n2.client.Transition(t.Context(), id, api.MoveTransition{Session: n2.session.ID, Action: api.ActionCommit, Attempt: 1, Revision: m.Revision}); err != nil {
		t.Fatal(err)
	}
	if m, err = n1.client.Transition(t.Context(), id, api.MoveTransition{Session: n1.session.ID, Action: api.ActionClean, Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	d, err = admin.Dataset(t.Context(), "db-data")
	if err != nil || d.Move != "" || m.Phase != cluster.MoveCleaned {
		t.Errorf("after the end: %+v, %s, %v", d.Dataset, m.Phase, err)
	}
}

func TestRolesAndKinds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n1 := f.node("node1")
	reader, operator := f.user("rita", pki.RoleRead), f.user("otto", pki.RoleOperate)
	if _, err := reader.Status(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := reader.Deploy(t.Context(), database("db", 1, n1))
	wantError(t, err, cluster.ErrForbidden)
	_, err = operator.CreateToken(t.Context(), api.TokenRequest{})
	wantError(t, err, cluster.ErrForbidden)
	_, err = operator.ConfirmRestore(t.Context())
	wantError(t, err, cluster.ErrForbidden)
	if st, err := f.user("alice", pki.RoleAdmin).ConfirmRestore(t.Context()); err != nil || st.Unconfirmed {
		t.Errorf("got %+v, %v", st, err)
	}
	creds := f.credentials(f.authority.IssueNode(n1.id))
	asNode := api.NewClient([]string{f.users}, pki.ClientTLS(creds, pki.ExpectControl()))
	defer asNode.Close()
	_, err = asNode.Status(t.Context())
	wantError(t, err, cluster.ErrForbidden)
	anonymous := api.NewClient([]string{f.users}, pki.PinnedTLS(f.authority.Pin()))
	defer anonymous.Close()
	_, err = anonymous.Status(t.Context())
	wantError(t, err, cluster.ErrForbidden)
}

func TestAMoveIsWatchedToItsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n1 := f.node("node1")
	f.node("node2")
	admin := f.user("alice", pki.RoleAdmin)
	if _, err := admin.Deploy(t.Context(), database("db", 5432, n1)); err != nil {
		t.Fatal(err)
	}
	m, err := admin.CreateMove(t.Context(), api.MoveRequest{Application: "db", Node: "node2"})
	if err != nil {
		t.Fatal(err)
	}
	var phases []cluster.MovePhase
	sawProgress := false
	err = admin.WatchMove(t.Context(), string(m.ID)[:8], func(i api.MoveInfo) error {
		if len(phases) == 0 || phases[len(phases)-1] != i.Phase {
			phases = append(phases, i.Phase)
		}
		switch {
		case i.Progress == nil && !i.CancelRequested:
			return n1.client.Progress(t.Context(), cluster.MoveProgress{Move: m.ID, Step: "copy round 1", Done: 5})
		case !i.CancelRequested:
			sawProgress = i.Progress.Done == 5
			_, err := admin.CancelMove(t.Context(), string(m.ID))
			return err
		case !i.Phase.Terminal():
			_, err := n1.client.Transition(t.Context(), m.ID, api.MoveTransition{Action: api.ActionAbort, Attempt: i.Attempt, Reason: "as asked"})
			return err
		}
		return nil
	})
	if err != nil || !sawProgress || len(phases) != 2 || phases[1] != cluster.MoveAborted {
		t.Errorf("saw %v, progress %v, %v", phases, sawProgress, err)
	}
	if _, err := admin.CreateMove(t.Context(), api.MoveRequest{Application: "db", Node: "node2"}); err != nil {
		t.Errorf("after the abort: %v", err)
	}
}
