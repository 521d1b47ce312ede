// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// opened opens the back ends of an agent.yml as the agent does.
func opened(t *testing.T, storage string) (held string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yml")
	if err := os.WriteFile(file, []byte("version: 1\ncontrol-service: {hostname: 10.0.0.1}\n"+storage), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := readAgentConfig(file)
	if err != nil {
		return "", err
	}
	authority, err := pki.CreateAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := authority.IssueNode("5f3e2c1a-0b0f-4f2e-9b8e-3b0d6f1c2d10")
	if err != nil {
		t.Fatal(err)
	}
	creds, err := pki.NewCredentials(authority.CertificatePEM(), issued)
	if err != nil {
		t.Fatal(err)
	}
	pools, err := agentOptions{mountRoot: t.TempDir()}.pools(t.Context(), conf, creds, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	t.Cleanup(func() {
		if err := pools.Close(); err != nil {
			t.Error(err)
		}
	})
	all, err := pools.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all.First.Error + "|" + all.Further["far"].Error, nil
}

// An agent starts although a back end does not open, and says of each why; what is written wrongly in agent.yml is an error at once.
func TestABackEndThatDoesNotOpenKeepsNoAgentFromStarting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nothing := filepath.Join(file, "no-folder") // says: mkdir <file>: not a directory
	closed := "far: {backend: loopback, root_path: " + nothing + "}"
	for name, c := range map[string]struct {
		storage    string
		first, far string // why they are not there
		mistake    string
	}{
		"a further one":     {"dataset: {backend: mem}\nbackends: {" + closed + "}\n", "", file, ""},
		"all of them":       {"dataset: {backend: loopback, root_path: " + nothing + "}\nbackends: {" + closed + "}\n", file, file, ""},
		"an unknown kind":   {"dataset: {backend: mem}\nbackends: {far: {backend: tape}}\n", "", "", "tape"},
		"an unknown option": {"dataset: {backend: mem}\nbackends: {far: {backend: mem, colour: red}}\n", "", "", "colour"},
		"a wrong value":     {"dataset: {backend: mem, total: much}\n", "", "", "much"},
	} {
		t.Run(name, func(t *testing.T) {
			held, err := opened(t, c.storage)
			if c.mistake != "" {
				if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), c.mistake) {
					t.Errorf("the agent begins with %v; want %v that names %s", err, cluster.ErrInvalid, c.mistake)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			first, far, _ := strings.Cut(held, "|")
			if (c.first == "") != (first == "") || !strings.Contains(first, c.first) || !strings.Contains(far, c.far) || far == "" {
				t.Errorf("the back ends say %q and %q; want %q and %q", first, far, c.first, c.far)
			}
		})
	}
}
