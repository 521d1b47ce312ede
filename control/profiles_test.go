// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// profiled reports a node with two back ends, of which the first has the profiles.
func (s *stage) profiled(node string, names ...string) {
	s.t.Helper()
	on := cluster.Storage{Backend: "test", Capabilities: cluster.Capabilities{Replicates: true, Snapshots: true}}
	for _, name := range names {
		on.Profiles = append(on.Profiles, cluster.Profile{Name: name, Options: map[string]string{"copies": "2"}})
	}
	s.report(node, cluster.Observed{Storage: on, Further: map[string]cluster.Storage{"plain": {Backend: "plain"}}})
}

func TestADatasetIsMadeWithAProfileOfItsBackEnd(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	ask := func(r api.DatasetRequest) error {
		r.Name, r.Node = uuid.NewString(), "a"
		return second(s.service.CreateDataset(t.Context(), "test", r))
	}
	err := ask(api.DatasetRequest{Profile: "gold"})
	wantError(t, err, cluster.ErrPrecondition)
	if !strings.Contains(err.Error(), "has not told yet what storage it has") {
		t.Errorf("before the node has told of its storage: %v", err)
	}
	s.profiled("a", "bronze", "gold")
	for name, c := range map[string]struct {
		request api.DatasetRequest
		says    string // empty: it is made
	}{
		"one of the first":         {api.DatasetRequest{Profile: "gold"}, ""},
		"one of it by its name":    {api.DatasetRequest{Profile: "gold", Backend: "test"}, ""},
		"by the original's key":    {api.DatasetRequest{Metadata: map[string]string{cluster.ProfileKey: "bronze"}}, ""},
		"none":                     {api.DatasetRequest{Backend: "plain"}, ""},
		"another":                  {api.DatasetRequest{Profile: "silver"}, `back end test of node a has no profile "silver": there are bronze, gold`},
		"another by the key":       {api.DatasetRequest{Metadata: map[string]string{cluster.ProfileKey: "silver"}}, `has no profile "silver"`},
		"one of another back end":  {api.DatasetRequest{Profile: "gold", Backend: "plain"}, `back end plain of node a has no profile "gold": this back end has no profiles`},
		"no back end of that name": {api.DatasetRequest{Profile: "gold", Backend: "tape"}, `node a has no back end "tape"`},
	} {
		err := ask(c.request)
		if c.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v; want …%s…", name, err, c.says)
		}
	}
	all, err := s.service.ListDatasets(t.Context())
	if err != nil || len(all) != 4 {
		t.Fatalf("%d datasets, %v; want 4", len(all), err)
	}
	for _, d := range all {
		if want := d.Metadata[cluster.ProfileKey]; want != "" && d.Profile != want {
			t.Errorf("the record of a dataset with the key %q has profile %q", want, d.Profile)
		}
	}
}

// Clients of the original choose a profile as they did with it.
func TestV1TakesTheProfileFromTheMetadata(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.profiled("a", "gold")
	h := s.userHandler()
	ask := func(name, profile string) (int, string) {
		return ask(h, "POST", "/v1/configuration/datasets",
			`{"primary":"`+string(s.actors["a"].id)+`","metadata":{"name":"`+name+`","clusterhq:flocker:profile":"`+profile+`"}}`)
	}
	if code, body := ask("one", "gold"); code != 201 || !strings.Contains(body, `"clusterhq:flocker:profile":"gold"`) {
		t.Errorf("%d %s; want it made, with the key as it was given", code, body)
	}
	if got := s.dataset("one").Profile; got != "gold" {
		t.Errorf("profile = %q; want gold", got)
	}
	if code, body := ask("two", "silver"); code != 409 || !strings.Contains(body, "there are gold") {
		t.Errorf("%d %s; want a refusal with the profiles that there are", code, body)
	}
}

func TestADeploymentMakesDatasetsWithTheirProfileAndLeavesThoseThatThereAre(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.profiled("a", "gold")
	deploy := func(profile string) error {
		return second(s.service.Deploy(t.Context(), "test", api.DeployRequest{
			Applications: []cluster.Application{{Name: "db", Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "db", MountPoint: "/data"}}}},
			Datasets:     []cluster.Dataset{{Name: "db", Profile: profile}},
		}))
	}
	wantError(t, deploy("silver"), cluster.ErrPrecondition)
	if err := deploy("gold"); err != nil {
		t.Fatal(err)
	}
	if got := s.dataset("db").Profile; got != "gold" {
		t.Errorf("profile = %q; want gold", got)
	}
	for _, same := range []string{"gold", ""} {
		if err := deploy(same); err != nil {
			t.Errorf("again with profile %q: %v", same, err)
		}
	}
	wantError(t, deploy("silver"), cluster.ErrConflict)
}

// A clone is kept as what it was made from. Only a profile that has lost its meaning where the dataset is goes along as a name.
func TestAClonesProfile(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.profiled("a", "gold")
	if err := second(s.service.CreateDataset(t.Context(), "test", api.DatasetRequest{Name: "db", Node: "a", Profile: "gold"})); err != nil {
		t.Fatal(err)
	}
	id := s.dataset("db").ID
	held := func(node string, head bool, profiles ...cluster.Profile) {
		c := cluster.Copy{Dataset: id, Head: head, Epoch: 1, Snapshots: []cluster.Snapshot{physical(6)}}
		on := cluster.Storage{Backend: "test", Capabilities: disks(), Profiles: profiles}
		s.report(node, cluster.Observed{Storage: on, Copies: map[cluster.DatasetID]cluster.Copy{id: c}})
	}
	gold := cluster.Profile{Name: "gold"}
	held("a", true, gold)
	of := s.ask("one")
	if err := s.took("a", s.actors["a"].session, of, physical(6)); err != nil {
		t.Fatal(err)
	}
	held("b", false)
	clone := func(name, node string) (cluster.Dataset, error) {
		return s.service.CloneDataset(t.Context(), "test", "db", api.CloneRequest{Name: name, Snapshot: "one", Node: node})
	}
	wantError(t, second(clone("there", "b")), cluster.ErrPrecondition)
	made, err := clone("here", "a")
	if err != nil || made.Profile != "gold" || s.dataset("here").Profile != "gold" {
		t.Errorf("the clone = %+v, %v; want one of profile gold", made, err)
	}
	held("a", true)
	made, err = clone("there", "b")
	if err != nil || made.Profile != "gold" {
		t.Errorf("the clone of what has a profile that is gone = %+v, %v", made, err)
	}
}
