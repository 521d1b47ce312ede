// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
)

const goodAgentConfig = `version: 1
control-service:
  hostname: control.example.com
dataset:
  backend: btrfs
`

func TestOriginalAgentConfig(t *testing.T) {
	c, err := parseAgentConfig([]byte(`"version": 1
"control-service":
   "hostname": "10.0.0.1"
   "port": 4524
   "whatever": [1, 2]
"dataset":
   "backend": "btrfs"
   "pool": "/dev/vdb"
"logging": {"version": 1}
`))
	if err != nil {
		t.Fatal(err)
	}
	var options struct{ Pool string }
	if err := c.Dataset.options(&options); err != nil || options.Pool != "/dev/vdb" {
		t.Errorf("backend's options %+v, %v", options, err)
	}
	if got := c.endpoints(); c.Dataset.kind() != "btrfs" || len(got) != 1 || got[0] != "10.0.0.1:4524" {
		t.Errorf("backend %q, endpoints %v", c.Dataset.kind(), got)
	}
	if c, err := parseAgentConfig([]byte(goodAgentConfig)); err != nil || c.Control.Port != 4524 {
		t.Errorf("without port: %+v, %v; want 4524", c.Control, err)
	}
}

func TestAgentConfigErrorsNameTheirPlace(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"version: 1", "version: 2", "version: must be 1"},
		{"version: 1", "version: one", "line 1: "},
		{"version: 1", "", "version: must be 1"},
		{"hostname: control.example.com", "host: x", `control-service.hostname: ""`},
		{"control.example.com", "a b", `control-service.hostname: "a b"`},
		{"hostname", "port: 70000\n  hostname", "control-service.port: 70000"},
		{"hostname", "port: x\n  hostname", "line 3: str `x` is of the wrong type"},
		{"hostname", "endpoints: ['a']\n  hostname", `control-service.endpoints[0]: "a"`},
		{"backend: btrfs", "pool: x", "dataset.backend: missing"},
		{"backend: btrfs", "backend: 3", "dataset.backend: missing"},
		{"dataset:", "node: {address: here}\ndataset:", `node.address: "here"`},
		{"dataset:", "backends: {btrfs: {backend: zfs}}\ndataset:", "backends.btrfs: is the name of the first"},
		{"dataset:", "backends: {archive: {pool: x}}\ndataset:", "backends.archive.backend: missing"},
		{"dataset:", "backends: {a/b: {backend: zfs}}\ndataset:", "backends.a/b: \"a/b\" is no name"},
		{"dataset:", "backends: [zfs]\ndataset:", "line 4: "},
		{"dataset:", "version: 1\ndataset:", "line 4: "},
		{"dataset:", "]", "L4"},
	} {
		_, err := parseAgentConfig([]byte(strings.Replace(goodAgentConfig, tt.old, tt.new, 1)))
		if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s for %s: %v; want %q", tt.new, tt.old, err, tt.want)
		}
	}
}

func TestAgentConfigHasFurtherBackEnds(t *testing.T) {
	c, err := parseAgentConfig([]byte(goodAgentConfig + "backends:\n  slow: {backend: loopback}\n  archive: {backend: zfs, pool: tank}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range c.storages() {
		names = append(names, s.name+" "+s.kind())
	}
	if want := []string{"btrfs btrfs", "archive zfs", "slow loopback"}; !slices.Equal(names, want) {
		t.Errorf("back ends = %q; want %q", names, want)
	}
	var options struct{ Pool string }
	if err := c.storages()[1].options(&options); err != nil || options.Pool != "tank" {
		t.Errorf("options of archive = %+v, %v", options, err)
	}
}

func TestUnknownOptionOfABackendIsNamed(t *testing.T) {
	c, err := parseAgentConfig([]byte(goodAgentConfig + "  pol: /dev/vdb\n"))
	if err != nil {
		t.Fatal(err)
	}
	err = c.Dataset.options(&struct{ Pool string }{})
	if want := "line 6: pol: unknown key"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("backendOptions = %v; want %q", err, want)
	}
}

func FuzzAgentConfig(f *testing.F) {
	f.Add([]byte(goodAgentConfig))
	f.Add([]byte(goodAgentConfig + "backends:\n  archive: {backend: zfs, pool: tank}\n"))
	f.Add([]byte("a: &a [*a]\n<<: {version: 1}"))
	f.Add([]byte("version: 1\ncontrol-service: {endpoints: ['[::1]:1', a:2], hostname: x}\ndataset: {backend: b, c: {d: [!!binary aGk=]}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseAgentConfig(text)
		if err != nil {
			return
		}
		var options map[string]any
		_ = c.Dataset.options(&options) // only must not panic
		again, err := c.encode()
		if err != nil {
			return // what no parser could have said in another way, such as an alias to something outside
		}
		d, err := parseAgentConfig(again)
		if err != nil {
			t.Fatalf("%q was taken, and is refused when written as %q: %v", text, again, err)
		}
		if diff := cmp.Diff(c.endpoints(), d.endpoints()); diff != "" || len(c.storages()) != len(d.storages()) || c.Dataset.kind() != d.Dataset.kind() || c.Node != d.Node {
			t.Errorf("%q is read otherwise when written again: %s", text, diff)
		}
	})
}

func TestUserConfig(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"version: 1\ncontrol: [a:4523]":                       "",
		"version: 1\ncontrol: [a:4523]\ncertificates: certs":  "",
		"version: 2\ncontrol: [a:4523]":                       "version: must be 1",
		"version: 1\ncontrol: []":                             "control: no address",
		"version: 1\ncontrol: [a]":                            `control[0]: "a" is not host:port`,
		"version: 1\ncontrol: [a:4523]\ncertificate: x":       "line 3: certificate: unknown key",
		"version: 1\ncontrol:\n  a: b":                        "line 3: ",
		"version: 1\ncontrol: [a:4523]\ncertificates: [1, 2]": "line 3: ",
	} {
		if err := os.WriteFile(filepath.Join(dir, userConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readUserConfig(dir)
		switch {
		case want != "" && (!errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v; want %q", text, err, want)
		case want == "" && (err != nil || !strings.HasPrefix(c.Certificates, dir)):
			t.Errorf("%q: certificates in %q, %v; want them under %q", text, c.Certificates, err, dir)
		}
	}
}
