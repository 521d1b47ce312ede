// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/dockerplugin"
)

// docker calls the volume plug-in of a node's present agent.
type docker func(call, volume, id string) (mountpoint, failure string)

// volumes serves the plug-in until the test ends.
func (n *node) volumes() docker {
	t := n.w.t
	t.Helper()
	path := filepath.Join(t.TempDir(), "flocker.sock")
	ln, err := dockerplugin.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	p := n.current()
	plugin := dockerplugin.New(dockerplugin.Config{Node: n.id, Local: p.agent, Control: p.link, Log: n.w.log.of(n.name)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- plugin.Serve(ctx, ln) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: transport}
	return func(call, volume, id string) (string, string) {
		t.Helper()
		body, err := json.Marshal(map[string]string{"Name": volume, "ID": id})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://plugin/VolumeDriver."+call, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var a struct{ Err, Mountpoint string }
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			t.Fatal(err)
		}
		return a.Mountpoint, a.Err
	}
}

// succeeds makes a call that must succeed.
func (d docker) succeeds(t *testing.T, call, volume, id string) (mountpoint string) {
	t.Helper()
	mountpoint, failure := d(call, volume, id)
	if failure != "" {
		t.Fatalf("%s %s %s: %s", call, volume, id, failure)
	}
	return mountpoint
}

// Docker's containers take their volume along, and nobody takes it from them: neither another node's Docker nor a user.
func TestAVolumeFollowsDockersContainers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	one, two := w.nodes[0], w.nodes[1]
	on1, on2 := one.volumes(), two.volumes()
	on1.succeeds(t, "Create", "vol", "")
	at := on1.succeeds(t, "Mount", "vol", "c1")
	id := w.dataset("vol")
	one.engine.SetForeign("writer", at)
	if err := one.disk.Write(id, "count", []byte("41")); err != nil {
		t.Fatal(err)
	}
	w.until("control knows of the writer", func() bool {
		_, failure := on2("Mount", "vol", "c2")
		return strings.Contains(failure, "node1") && strings.Contains(failure, "container writer")
	})
	if _, err := w.user.CreateMove(t.Context(), api.MoveRequest{Dataset: "vol", Node: "node2"}); err == nil || !strings.Contains(err.Error(), "writer") {
		t.Errorf("a user's move of a volume in use: %v", err)
	}
	if err := one.disk.Write(id, "count", []byte("42")); err != nil {
		t.Errorf("the writer was disturbed: %v", err)
	}
	on1.succeeds(t, "Unmount", "vol", "c1")
	one.engine.SetForeign("writer")
	there := on2.succeeds(t, "Mount", "vol", "c2")
	if files, err := two.disk.Files(id); err != nil || string(files["count"]) != "42" || filepath.Base(filepath.Dir(there)) != string(id) {
		t.Errorf("at %s node2 has %q, %v", there, files, err)
	}
	if _, failure := on1("Remove", "vol", ""); !strings.Contains(failure, "node2") {
		t.Errorf("removal of what is in use on node2: %q", failure)
	}
	on2.succeeds(t, "Unmount", "vol", "c2")
	on2.succeeds(t, "Remove", "vol", "")
	w.until("the data is gone", func() bool {
		_, first := one.copyOf(id)
		_, second := two.copyOf(id)
		return !first && !second
	})
}
