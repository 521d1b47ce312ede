// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
)

func TestProfilesAreNamesOfWhatADriverKnows(t *testing.T) {
	options := []backend.ProfileOption{{Name: "copies", Check: backend.OneOf("1", "2")}, {Name: "speed", Check: backend.OneOf("high")}}
	for name, c := range map[string]struct {
		profiles backend.Profiles
		known    []backend.ProfileOption
		field    string // empty: it is right
		problem  string
	}{
		"none":                       {known: options},
		"one without options":        {profiles: backend.Profiles{"gold": nil}},
		"two":                        {profiles: backend.Profiles{"gold": {"copies": "2", "speed": "high"}, "my-own.1": {"copies": "1"}}, known: options},
		"an unknown option":          {backend.Profiles{"gold": {"copis": "2"}}, options, "profiles.gold.copis", "unknown option: there are copies, speed"},
		"an option where there none": {backend.Profiles{"gold": {"copies": "2"}}, nil, "profiles.gold.copies", "unknown option: a profile has none here"},
		"a wrong value":              {backend.Profiles{"gold": {"copies": "3"}}, options, "profiles.gold.copies", `"3" is none of 1, 2`},
		"no name":                    {backend.Profiles{"very gold": nil}, options, "profiles.very gold", "is not a name"},
	} {
		found := cluster.FieldErrors(c.profiles.Check(c.known))
		switch {
		case c.field == "" && len(found) > 0:
			t.Errorf("%s: %v; want nothing wrong", name, found)
		case c.field != "" && (len(found) != 1 || found[0].Field != c.field || !strings.Contains(found[0].Problem, c.problem)):
			t.Errorf("%s: %v; want %s: …%s…", name, found, c.field, c.problem)
		}
	}
}

func TestADatasetIsMadeOnlyWithAProfileThatThereIs(t *testing.T) {
	driver := mem.New(1 << 30)
	p := newPool(&fault.Driver{Inner: driver})
	gold := backend.Spec{Dataset: id, Profile: "gold"}
	if err := p.Create(t.Context(), gold); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), "agent.yml") {
		t.Errorf("Create with a profile where there are none = %v; want %v and where they are named", err, backend.ErrUnsupported)
	}
	driver.Offer(backend.Profiles{"silver": nil, "bronze": {"x": "1"}})
	if err := p.Create(t.Context(), gold); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), "there are bronze, silver") {
		t.Errorf("Create with another profile = %v; want %v and those that there are", err, backend.ErrUnsupported)
	}
	storage, copies, err := p.Observe(t.Context())
	if err != nil || len(copies) > 0 {
		t.Errorf("Observe = %v, %v; want nothing made", copies, err)
	}
	want := []cluster.Profile{{Name: "bronze", Options: map[string]string{"x": "1"}}, {Name: "silver"}}
	if diff := cmp.Diff(want, storage.Profiles); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	if err := p.Create(t.Context(), backend.Spec{Dataset: id, Profile: "silver"}); err != nil {
		t.Errorf("Create with a profile that there is = %v", err)
	}
}

// What exists is cloned even where its profile means nothing any more.
func TestADatasetOfAProfileThatIsGoneIsStillCloned(t *testing.T) {
	driver := mem.New(1 << 30)
	driver.Offer(backend.Profiles{"gold": nil})
	p := newPool(driver)
	if err := p.Create(t.Context(), backend.Spec{Dataset: id, Profile: "gold", Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	s, err := p.Snapshot(t.Context(), id, backend.Lineage{Epoch: 1, Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	driver.Offer(nil)
	const clone = cluster.DatasetID("5e4f7f7c-0000-4000-8000-000000000002")
	if err := p.Clone(t.Context(), id, s.Name, backend.Spec{Dataset: clone, Profile: "gold", Epoch: 1}, ""); err != nil {
		t.Errorf("Clone = %v", err)
	}
}
