// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"maps"
	"slices"
	"strings"
)

// ProfileKey is the key of a dataset's metadata that names its profile, as in the original.
const ProfileKey = "clusterhq:flocker:profile"

// Profile is a way of making a dataset that a node's back end has, by the name that the operator gave it.
type Profile struct {
	Name string `json:"name"`
	// Options are what it stands for there; empty where only the store itself knows.
	Options map[string]string `json:"options,omitempty"`
}

// String is the name with what it stands for.
func (p Profile) String() string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(p.Options)) {
		words = append(words, key+"="+p.Options[key])
	}
	if len(words) == 0 {
		return p.Name
	}
	return p.Name + " (" + strings.Join(words, ", ") + ")"
}

// HasProfile says whether a dataset of that profile can be made here; one without a profile can be made anywhere.
func (s Storage) HasProfile(name string) bool {
	return name == "" || slices.ContainsFunc(s.Profiles, func(p Profile) bool { return p.Name == name })
}

// ProfilesAre says, for a refusal, which profiles there are.
func ProfilesAre(all []Profile) string {
	if len(all) == 0 {
		return "this back end has no profiles; they are named in the node's agent.yml, under \"profiles\" beside \"backend\""
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	return "there are " + strings.Join(names, ", ")
}
