// SPDX-License-Identifier: Apache-2.0

package all

import (
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/cluster"
)

// read decodes an operator's options, among which are profiles of what the driver knows.
func read(options func(any) error, into any, profiles *backend.Profiles, known []backend.ProfileOption) error {
	if err := options(into); err != nil {
		return err
	}
	return profiles.Check(known)
}

// profilesOfRBD choose of the image and of what is made on it.
func profilesOfRBD() []backend.ProfileOption {
	return slices.Concat(block.ProfileOptions(), rbd.ProfileOptions())
}

// profileChecks are of each profile that an operator has named, and of the programs that it needs.
func profileChecks(profiles backend.Profiles, known []backend.ProfileOption) []api.Check {
	var checks []api.Check
	for _, p := range profiles.List() {
		c := api.Check{Name: "profile", Object: p.Name, OK: true, Found: "it is " + p.String()}
		if len(p.Options) == 0 {
			c.Found = "it has no options: it is made as what has no profile"
		}
		err := backend.Profiles{p.Name: p.Options}.Check(known)
		if problems := cluster.FieldErrors(err); len(problems) > 0 {
			c.OK, c.Found, c.Problem = false, "", err.Error()
			c.Remedy = "mend \"profiles\" in agent.yml, and start the agent again"
		}
		checks = append(checks, c)
	}
	return checks
}

// volumeChecks are of what block makes of new volumes, with a profile and without.
func volumeChecks(filesystem string, profiles backend.Profiles, known []backend.ProfileOption) []api.Check {
	checks := append(filesystemChecks(filesystem), profileChecks(profiles, known)...)
	seen := []string{filesystem, ""}
	if filesystem == "" {
		seen = append(seen, "ext4")
	}
	for _, p := range profiles.List() {
		chosen := p.Options["filesystem"]
		if slices.Contains(seen, chosen) || profiles.Check(known) != nil {
			continue
		}
		seen = append(seen, chosen)
		checks = append(checks, filesystemChecks(chosen)...)
	}
	return checks
}
