// SPDX-License-Identifier: Apache-2.0

package external_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/cluster"
)

// A driver is told of the profiles that it has; those that only the operator named choose what is made on its volumes.
func TestADriverHearsOfItsOwnProfilesOnly(t *testing.T) {
	heard := map[string]any{}
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"protocol": 1, "driver": "x", "machine": "node-1", "profiles": ["silver", "gold"]}`)
			return
		}
		clear(heard)
		if err := json.NewDecoder(r.Body).Decode(&heard); err != nil {
			t.Error(err)
		}
		profile, _ := heard["profile"].(string)
		fmt.Fprintf(w, `{"volume": {"id": "v", "dataset": %q, "size": 4096, "profile": %q}}`, dataset, profile)
	})
	store := open(t, socket, 0)
	for profile, want := range map[string]any{"gold": "gold", "on-xfs": nil, "": nil} {
		if _, err := store.Create(t.Context(), backend.Spec{Dataset: dataset, Profile: profile}); err != nil || heard["profile"] != want {
			t.Errorf("Create with profile %q: the driver heard of %v, %v; want %v", profile, heard["profile"], err, want)
		}
	}
	profiles := backend.Profiles{"on-xfs": {"filesystem": "xfs"}, "gold": {"filesystem": "btrfs"}}
	d, err := block.New(t.Context(), store, block.Config{Profiles: profiles, Around: []backend.Around{block.Limit(1000, 10)}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	want := []cluster.Profile{
		{Name: "gold", Options: map[string]string{"filesystem": "btrfs"}}, {Name: "on-xfs", Options: map[string]string{"filesystem": "xfs"}}, {Name: "silver"},
	}
	if diff := cmp.Diff(want, d.Profiles()); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
}
