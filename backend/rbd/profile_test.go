// SPDX-License-Identifier: Apache-2.0

package rbd_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/cluster"
)

// An image is made as its profile says, and whoever asks for it without the profile is told that there is another.
func TestAProfileChoosesTheImage(t *testing.T) {
	p := newPair(t)
	config := p.config(0)
	config.Profiles = backend.Profiles{"small-objects": {"object_size": "1M"}, "elsewhere": {"data_pool": dataPool}, "plain": {"filesystem": "xfs"}}
	if err := config.Profiles.Check(append(rbd.ProfileOptions(), backend.ProfileOption{Name: "filesystem", Check: backend.OneOf("xfs")})); err != nil {
		t.Fatal(err)
	}
	store := p.open(config)
	for profile, want := range map[string]struct {
		objects int64
		pool    string
	}{"small-objects": {objects: 1 << 20}, "elsewhere": {4 << 20, dataPool}, "plain": {objects: 4 << 20}, "": {objects: 4 << 20}} {
		v, err := store.Create(t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: 64 << 20, Profile: profile})
		if err != nil || v.Profile != profile {
			t.Fatalf("Create with profile %q = %+v, %v", profile, v, err)
		}
		var info struct {
			Objects int64  `json:"object_size"`
			Pool    string `json:"data_pool"`
		}
		if err := json.Unmarshal([]byte(p.admin(t, "rbd", "info", thePool+"/"+v.ID, "--format", "json")), &info); err != nil {
			t.Fatal(err)
		}
		if info.Objects != want.objects || info.Pool != want.pool {
			t.Errorf("the image of profile %q has objects of %d bytes and data pool %q; want %d and %q", profile, info.Objects, info.Pool, want.objects, want.pool)
		}
		p.destroy(store, v)
	}
}

func TestProfilesOfImagesAreChecked(t *testing.T) {
	for option, value := range map[string]string{"object_size": "3M", "data_pool": "a/b", "features": "journaling"} {
		if err := (backend.Profiles{"x": {option: value}}).Check(rbd.ProfileOptions()); len(cluster.FieldErrors(err)) != 1 {
			t.Errorf("%s=%s: %v; want one refusal", option, value, err)
		}
	}
}
