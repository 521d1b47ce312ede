// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func TestTheSubnetOfInitReachesTheControlService(t *testing.T) {
	h := newHost(t)
	if _, err := h.init(t, "--subnet", "10.200.7.0/16"); !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "write 10.200.0.0/16") {
		t.Errorf("a wrong subnet: %v", err)
	}
	if left := contents(t, h.dir); len(left) > 0 {
		t.Errorf("a refused init left %v", left)
	}
	if _, err := h.init(t, "--subnet", "10.200.0.0/16"); err != nil {
		t.Fatal(err)
	}
	if got, err := (controlOptions{certificates: h.config}).network(); err != nil || got != (cluster.Fabric{Subnet: "10.200.0.0/16"}) {
		t.Errorf("the control service reads %+v, %v", got, err)
	}
	if got, err := (controlOptions{certificates: h.config, subnet: "10.9.0.0/16"}).network(); err != nil || got.Subnet != "10.9.0.0/16" {
		t.Errorf("with a flag of its own it has %+v, %v", got, err)
	}
	for _, again := range [][]string{nil, {"--subnet", "10.200.0.0/16"}} {
		if out, err := h.init(t, again...); err != nil || !strings.Contains(out, "Nothing to do") {
			t.Errorf("init %v again: %v: %s", again, err, out)
		}
	}
	_, err := h.init(t, "--subnet", "10.201.0.0/16")
	if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "10.201.0.0/16") || !strings.Contains(err.Error(), "10.200.0.0/16") {
		t.Errorf("init with another subnet: %v", err)
	}
}

func TestASubnetIsNotChosenForAClusterThatIsMade(t *testing.T) {
	h := newHost(t)
	if _, err := h.init(t); err != nil {
		t.Fatal(err)
	}
	if got, err := (controlOptions{certificates: h.config}).network(); err != nil || got != (cluster.Fabric{}) {
		t.Errorf("without a file the control service reads %+v, %v", got, err)
	}
	if _, err := h.init(t, "--subnet", "10.200.0.0/16"); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "control-service.crt") {
		t.Errorf("got %v", err)
	}
}

func TestAControlFileIsUnderstoodWholeOrRefused(t *testing.T) {
	for text, says := range map[string]string{
		"version: 2\nsubnet: 10.1.0.0/16\n": "version: must be 1",
		"version: 1\nsubnet: 10.1.0.0/30\n": "subnet",
		"version: 1\nsubnet6: fd00::1/64\n": "subnet6: \"fd00::1/64\"",
		"version: 1\nsubnets: x\n":          "subnets: unknown key",
		"version: [\n":                      controlFile,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, controlFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readControlFile(dir); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: got %v; want %q", text, err, says)
		}
	}
	_, err := controlOptions{subnet: "fd00::/64"}.network()
	if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "--subnet") {
		t.Errorf("a wrong flag: %v", err)
	}
}

func TestTheIPv6SubnetOfInitReachesTheControlService(t *testing.T) {
	for asked, want := range map[string]string{"none": "none", "fd00:7::/64": "fd00:7::/64", "auto": "", "": ""} {
		h := newHost(t)
		args := []string{"--subnet6", asked}
		if asked == "" {
			args = nil
		}
		for range 2 {
			if _, err := h.init(t, args...); err != nil {
				t.Fatalf("init %v: %v", args, err)
			}
		}
		if got, err := (controlOptions{certificates: h.config}).network(); err != nil || got != (cluster.Fabric{Subnet6: want}) {
			t.Errorf("of init %v the control service reads %+v, %v", args, got, err)
		}
		if got, err := (controlOptions{certificates: h.config, subnet6: "auto", subnet: "10.9.0.0/16"}).network(); err != nil || got.Subnet6 != "auto" {
			t.Errorf("with a flag of its own it has %+v, %v", got, err)
		}
		const other = "fd00:8::/64"
		_, err := h.init(t, "--subnet6", other)
		if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "--subnet6 "+other) || !strings.Contains(err.Error(), want) {
			t.Errorf("init with another IPv6 subnet after %v: %v", args, err)
		}
	}
	h := newHost(t)
	_, err := h.init(t, "--subnet6", "fd00::/48")
	if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "--subnet6") || !strings.Contains(err.Error(), "48 bits") {
		t.Errorf("a wrong IPv6 subnet: %v", err)
	}
	if _, err := (controlOptions{subnet6: "10.0.0.0/8"}).network(); !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "--subnet6") {
		t.Errorf("a wrong flag: %v", err)
	}
}

func TestAddressesAreShown(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out}
	node := api.NodeInfo{Node: cluster.Node{Name: "node1", Address: "10.0.0.1", ClusterAddress: "10.144.0.2"}}
	app := api.ApplicationInfo{Application: cluster.Application{Name: "db", Address: "10.144.0.3"}, Address6: "fd00::a90:3", Container: &cluster.Container{Address: "10.144.0.3"}}
	if err := errors.Join(p.nodes([]api.NodeInfo{node}), p.application(app)); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	if !strings.Contains(text, "10.0.0.1 10.144.0.2") || strings.Count(text, "10.144.0.3") != 1 || !strings.Contains(text, "Address: 10.144.0.3 IPv6 address: fd00::a90:3") {
		t.Errorf("shown: %s", out.String())
	}
	app.Container.Address = "10.144.0.77"
	if err := p.application(app); err != nil || !strings.Contains(out.String(), "10.144.0.77") {
		t.Errorf("a container with another address: %v: %s", err, out.String())
	}
}
