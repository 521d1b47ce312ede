// SPDX-License-Identifier: Apache-2.0

package all_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/all"
	"github.com/flocker-project/flocker/cluster"
)

var node = all.Node{ID: "8a9e1a3c-53a6-4f2e-9b8e-3b0d6f1c2d10", Cluster: "f0a1c1c2-3d3b-4f2e-9b8e-3b0d6f1c2d11"}

func open(t *testing.T, name, options string) (backend.Driver, error) {
	t.Helper()
	return all.Open(t.Context(), node, name, func(into any) error {
		return yaml.Load([]byte(options), into, yaml.WithKnownFields())
	}, slog.New(slog.DiscardHandler))
}

func TestOpenReadsSizes(t *testing.T) {
	for text, want := range map[string]int64{"total: 4096": 4096, "total: 2GiB": 2 << 30, "total: 20 MB": 20_000_000} {
		driver, err := open(t, "mem", text)
		if err != nil {
			t.Errorf("Open(%s) = %v", text, err)
			continue
		}
		_, total, err := driver.(backend.Space).Space(t.Context())
		if err != nil || total != want {
			t.Errorf("Space with %s = %d, %v; want %d", text, total, err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, options := range []string{"total: -1", "total: 1.5GiB", "total: many", "total: 99999999999TiB", "totl: 1"} {
		if _, err := open(t, "mem", options); err == nil {
			t.Errorf("Open(%s) = nil; want an error", options)
		}
	}
	if _, err := open(t, "zfs", "poool: flocker"); err == nil {
		t.Error("Open(zfs) with an unknown option = nil; want an error")
	}
	if _, err := open(t, "tape", ""); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("Open(tape) = %v; want %v", err, cluster.ErrInvalid)
	}
}

func TestOpenLoopback(t *testing.T) {
	root := t.TempDir()
	driver, err := open(t, "loopback", "root_path: "+root)
	if err != nil {
		t.Fatal(err)
	}
	if name := driver.(backend.Attacher).Machine(); name != string(node.ID) {
		t.Errorf("Machine = %q; want the node's id", name)
	}
	if owner, err := os.ReadFile(filepath.Join(root, "cluster")); err != nil || string(owner) != node.Cluster+"\n" {
		t.Errorf("the folder's cluster = %q, %v; want ours", owner, err)
	}
	driver, err = open(t, "loopback", "root_path: "+root+"\ncompute_instance_id: one\nfilesystem: xfs")
	if err != nil || driver.(backend.Attacher).Machine() != "one" {
		t.Errorf("Open with a name = %v; want machine one", err)
	}
	for _, options := range []string{"filesystem: fat", "compute_instance_id: a/b", "path: /tmp"} {
		if _, err := open(t, "loopback", "root_path: "+root+"\n"+options); err == nil {
			t.Errorf("Open(%s) = nil; want an error", options)
		}
	}
}

func TestOpenExternal(t *testing.T) {
	for options, want := range map[string]string{
		"{}": "socket", "socket: run/x": "absolute path", "{socket: /run/x, timeout: soon}": "timeout", "{socket: /run/x, timeout: 1ms}": "timeout",
		"{socket: /run/x, retries: 3}": "retries",
	} {
		if _, err := open(t, "external", options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(external, %s) = %v; want an error about %s", options, err, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if _, err := open(t, "external", "socket: /nowhere/x"); !errors.Is(err, backend.ErrTemporary) || time.Since(begin) < 5*time.Second {
			t.Errorf("Open without a driver = %v after %s; want %v after a while", err, time.Since(begin), backend.ErrTemporary)
		}
	})
}

func TestNames(t *testing.T) {
	if names := all.Names(); !slices.IsSorted(names) || !slices.Contains(names, "btrfs") || !slices.Contains(names, "zfs") {
		t.Errorf("Names = %v; want btrfs and zfs among them, in order", names)
	}
}
