// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/internal/run"
)

func TestOwnCgroup(t *testing.T) {
	for name, test := range map[string]struct{ proc, want string }{
		"version 1":          {"9:name=systemd:/docker/abc\n8:pids:/docker/abc\n0::/docker/abc\n", "/docker/abc"},
		"systemd driver":     {"1:name=systemd:/x\n4:cpu,cpuacct:/system.slice/docker-abc.scope\n", "/system.slice/docker-abc.scope"},
		"root":               {"8:pids:/\n", ""},
		"without controller": {"0::/docker/abc\n", ""},
	} {
		if got := ownCgroup(test.proc); got != test.want {
			t.Errorf("%s: ownCgroup = %q; want %q", name, got, test.want)
		}
	}
}

func TestDelegateHandsAllControllersDown(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"cgroup.procs": "1\n", "cgroup.controllers": "cpu memory pids\n", "cgroup.subtree_control": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := delegate(root); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"init/cgroup.procs": "1", "cgroup.subtree_control": "+cpu +memory +pids"} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestRulesAreAcceptedByTheKernel(t *testing.T) {
	probe := run.Command(t.Context(), "unshare", "--net", "nft", "list", "tables")
	if err := probe.Run(); err != nil {
		t.Skipf("needs root, unshare and nft: %v", err)
	}
	dir := t.TempDir()
	for name, n := range map[string]Network{
		"whole": {},
		"cut":   {Cut: []netip.Addr{netip.MustParseAddr("10.87.0.10"), netip.MustParseAddr("10.87.0.12")}},
		"both":  {Cut: []netip.Addr{netip.MustParseAddr("10.87.0.10"), netip.MustParseAddr("fd00:7::a57:a"), netip.MustParseAddr("fd00:7::a57:c")}},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(n.rules()), 0o600); err != nil {
			t.Fatal(err)
		}
		// Twice: the second time finds the first one's table.
		script := "nft -f " + file + " && nft -f " + file + " && nft list ruleset | grep -c drop || true"
		out, err := run.Command(t.Context(), "unshare", "--net", "sh", "-e", "-c", script).Output()
		want := map[string]string{"whole": "0\n", "cut": "4\n", "both": "8\n"}[name]
		if err != nil || string(out) != want {
			t.Errorf("%s: %q dropping rules, %v; want %q", name, out, err, want)
		}
	}
}

func TestShaperScalesItsBucket(t *testing.T) {
	for rate, want := range map[int64][]string{
		1e9: {"tbf", "rate", "1000000000bit", "burst", "250000", "latency", "20ms"},
		1e6: {"tbf", "rate", "1000000bit", "burst", "65536", "latency", "20ms"},
	} {
		if diff := cmp.Diff(want, shaper(rate)); diff != "" {
			t.Errorf("shaper(%d) (-want +got):\n%s", rate, diff)
		}
	}
}
