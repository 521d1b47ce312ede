// SPDX-License-Identifier: Apache-2.0

package dockerplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/dockerplugin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// docker is what talks to a node's plug-in, over its socket.
type docker struct {
	t      *testing.T
	path   string
	client *http.Client
	stop   func()
}

// serve runs a node's plug-in on a socket; it takes the place of one that has ended.
func serve(m *memory, id cluster.NodeID, path string) *docker {
	m.t.Helper()
	ln, err := dockerplugin.Listen(m.t.Context(), path)
	if err != nil {
		m.t.Fatal(err)
	}
	n := machine{m, id}
	p := dockerplugin.New(dockerplugin.Config{Node: id, Local: n, Control: n, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, ln) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	d := &docker{t: m.t, path: path, client: &http.Client{Transport: transport}}
	d.stop = func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
		d.stop = func() {}
	}
	m.t.Cleanup(func() { d.stop() })
	return d
}

func (m *memory) docker(id cluster.NodeID) *docker {
	return serve(m, id, filepath.Join(m.t.TempDir(), string(id), "flocker.sock"))
}

type answer struct {
	Err, Mountpoint string
	Volume          struct {
		Name, Mountpoint string
		Status           map[string]string
	}
	Volumes      []struct{ Name, Mountpoint string }
	Implements   []string
	Capabilities struct{ Scope string }
}

func (d *docker) post(call, body string) (int, answer) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, "http://plugin/"+call, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil && resp.StatusCode == http.StatusOK {
		d.t.Fatal(err)
	}
	return resp.StatusCode, a
}

// ok makes a call that must succeed.
func (d *docker) ok(call, body string) answer {
	d.t.Helper()
	code, a := d.post(call, body)
	if code != http.StatusOK || a.Err != "" {
		d.t.Fatalf("%s %s: %d %s", call, body, code, a.Err)
	}
	return a
}

// fails makes a call that must fail, with status 200 and the words.
func (d *docker) fails(call, body string, words ...string) {
	d.t.Helper()
	code, a := d.post(call, body)
	if code != http.StatusOK || a.Err == "" {
		d.t.Fatalf("%s %s: %d %+v; want an error in it", call, body, code, a)
	}
	for _, word := range words {
		if !strings.Contains(a.Err, word) {
			d.t.Errorf("%s %s: %q does not say %q", call, body, a.Err, word)
		}
	}
}

func TestDockerFindsADriverOfGlobalScope(t *testing.T) {
	t.Parallel()
	d := newMemory(t, "a").docker("a")
	if got := d.ok("Plugin.Activate", ""); len(got.Implements) != 1 || got.Implements[0] != "VolumeDriver" {
		t.Errorf("got %v", got.Implements)
	}
	if got := d.ok("VolumeDriver.Capabilities", "{}").Capabilities.Scope; got != "global" {
		t.Errorf("got scope %q", got)
	}
	if code, _ := d.post("VolumeDriver.Get", "{"); code != http.StatusBadRequest {
		t.Errorf("what is not JSON is answered with %d", code)
	}
	d.fails("VolumeDriver.Mount", `{"Name": "", "ID": "x"}`, "names no volume")
	d.fails("VolumeDriver.Get", `{"Name": "none"}`, "no such volume")
}

func TestAVolumeIsCreatedOnceWithWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	m := newMemory(t, "a", "b")
	a, b := m.docker("a"), m.docker("b")
	for range 2 {
		a.ok("VolumeDriver.Create", `{"Name": "db", "Opts": {"size": "1.5g", "profile": "gold", "uid": "70", "mode": "0700"}}`)
	}
	b.ok("VolumeDriver.Create", `{"Name": "db"}`)
	b.fails("VolumeDriver.Create", `{"Name": "db", "Opts": {"size": "2G"}}`, "size", "1610612736", "2147483648")
	b.fails("VolumeDriver.Create", `{"Name": "db", "Opts": {"profile": "silver"}}`, "profile", "gold", "silver")
	d := m.byName("db")
	if d.Size != 3<<29 || d.Metadata["maximum_size"] != "1610612736" || d.Metadata["name"] != "db" || d.Root != (cluster.Root{UID: 70, Mode: "0700"}) || d.Owner != "a" {
		t.Errorf("got %+v", d)
	}
	b.ok("VolumeDriver.Create", `{"Name": "copy", "Opts": {"from": "db"}}`)
	b.ok("VolumeDriver.Create", `{"Name": "copy", "Opts": {"from": "db"}}`)
	a.fails("VolumeDriver.Create", `{"Name": "db", "Opts": {"from": "copy"}}`, "no clone of copy")
	if got := a.ok("VolumeDriver.List", "{}").Volumes; len(got) != 2 || got[0].Name != "copy" || got[0].Mountpoint != "" || got[1].Mountpoint == "" {
		t.Errorf("got %+v", got)
	}
	if got := b.ok("VolumeDriver.Get", `{"Name": "db"}`).Volume; got.Status["node"] != "a" || got.Mountpoint != "" {
		t.Errorf("got %+v", got)
	}
}

func TestOptionsThatSayNothingUsableAreRefusedByName(t *testing.T) {
	t.Parallel()
	d := newMemory(t, "a").docker("a")
	for _, c := range []struct{ opts, word string }{
		{`"colour": "red"`, "colour"},
		{`"size": "20 gallons"`, "size"},
		{`"size": "0.3k"`, "whole number"},
		{`"size": "0"`, "nothing"},
		{`"size": "9999999999999999999"`, "too large"},
		{`"size": "-1"`, "size"},
		{`"uid": "postgres"`, "uid"},
		{`"mode": "rwx"`, "mode"},
		{`"profile": ""`, "profile"},
		{`"from": "x@"`, "from"},
		{`"from": "x", "size": "1G"`, "size"},
		{`"from": "x", "mode": "0700"`, "mode"},
	} {
		d.fails("VolumeDriver.Create", `{"Name": "db", "Opts": {`+c.opts+`}}`, c.word)
	}
	for text, want := range map[string]int64{"1": 1, "1k": 1 << 10, "2KiB": 2 << 10, "1.5m": 3 << 19, "20G": 20 << 30, "1tb": 1 << 40, "64 MiB": 64 << 20, "7b": 7} {
		name := strings.Map(func(r rune) rune { return map[bool]rune{true: '-', false: r}[r == ' '] }, text)
		d.ok("VolumeDriver.Create", fmt.Sprintf(`{"Name": "v%s", "Opts": {"size": %q}}`, name, text))
		d.fails("VolumeDriver.Create", fmt.Sprintf(`{"Name": "v%s", "Opts": {"size": "3"}}`, name), fmt.Sprint(want))
	}
}

func TestTheLastUnmountLetsGoOfAVolume(t *testing.T) {
	t.Parallel()
	m := newMemory(t, "a", "b")
	a, b := m.docker("a"), m.docker("b")
	a.ok("VolumeDriver.Create", `{"Name": "db"}`)
	if got := a.ok("VolumeDriver.Mount", `{"Name": "db", "ID": "1"}`).Mountpoint; got != "/flocker/id-db/data" {
		t.Errorf("mounted at %q", got)
	}
	m.run("a", "db", "first")
	for range 2 { // the same one
		a.ok("VolumeDriver.Mount", `{"Name": "db", "ID": "2"}`)
	}
	b.fails("VolumeDriver.Mount", `{"Name": "db", "ID": "3"}`, "node a", "container first")
	b.fails("VolumeDriver.Remove", `{"Name": "db"}`, "node a", "container first")
	m.change(func() { m.users["a"] = nil })
	a.ok("VolumeDriver.Unmount", `{"Name": "db", "ID": "1"}`)
	a.fails("VolumeDriver.Remove", `{"Name": "db"}`, "node a") // the second is still there
	a.ok("VolumeDriver.Unmount", `{"Name": "db", "ID": "2"}`)
	m.until("the lease to end", func() bool { return !m.leased("db") })
	if got := b.ok("VolumeDriver.Mount", `{"Name": "db", "ID": "3"}`).Mountpoint; got == "" || m.byName("db").Owner != "b" {
		t.Errorf("mounted at %q", got)
	}
	if got := a.ok("VolumeDriver.Path", `{"Name": "db"}`).Mountpoint; got != "" {
		t.Errorf("it is still at %q on a", got)
	}
	b.ok("VolumeDriver.Unmount", `{"Name": "db", "ID": "3"}`)
	for range 2 { // gone is gone
		b.ok("VolumeDriver.Remove", `{"Name": "db"}`)
	}
	if m.byName("db").ID != "" {
		t.Error("the dataset is still there")
	}
}

// What an earlier process counted is not known: Docker's containers are.
func TestARestartKeepsWhatContainersUse(t *testing.T) {
	t.Parallel()
	m := newMemory(t, "a", "b")
	a := m.docker("a")
	a.ok("VolumeDriver.Create", `{"Name": "db"}`)
	a.ok("VolumeDriver.Mount", `{"Name": "db", "ID": "1"}`)
	m.run("a", "db", "first")
	a.stop()
	a = serve(m, "a", a.path)
	a.ok("VolumeDriver.Mount", `{"Name": "db", "ID": "2"}`)
	a.ok("VolumeDriver.Unmount", `{"Name": "db", "ID": "2"}`)
	m.docker("b").fails("VolumeDriver.Mount", `{"Name": "db", "ID": "3"}`, "node a", "container first")
	a.ok("VolumeDriver.Unmount", `{"Name": "db", "ID": "1"}`) // before Docker says that the container has ended
	if !m.leased("db") {
		t.Fatal("the volume of a running container was let go of")
	}
	m.change(func() { m.users["a"] = nil })
	m.until("the lease to end", func() bool { return !m.leased("db") })
}

func TestWhileControlIsAwayTheNodeAnswersAtOnceAndGoesOn(t *testing.T) {
	t.Parallel()
	m := newMemory(t, "a", "b")
	a := m.docker("a")
	for _, name := range []string{"used", "idle"} {
		a.ok("VolumeDriver.Create", `{"Name": "`+name+`"}`)
	}
	m.docker("b").ok("VolumeDriver.Create", `{"Name": "theirs"}`)
	a.ok("VolumeDriver.Mount", `{"Name": "used", "ID": "1"}`)
	m.change(func() { m.away, m.asked = true, 0 })
	if got := a.ok("VolumeDriver.List", "{}").Volumes; len(got) != 3 {
		t.Errorf("got %+v", got)
	}
	a.ok("VolumeDriver.Get", `{"Name": "used"}`)
	a.ok("VolumeDriver.Path", `{"Name": "used"}`)
	if m.asked != 0 {
		t.Errorf("%d requests were made for what the node knows", m.asked)
	}
	if got := a.ok("VolumeDriver.Mount", `{"Name": "used", "ID": "2"}`).Mountpoint; got == "" {
		t.Error("what is in use here has no mount point")
	}
	for call, name := range map[string]string{"Mount": "idle", "Remove": "used", "Create": "new"} {
		a.fails("VolumeDriver."+call, `{"Name": "`+name+`", "ID": "3"}`, "control service is not reached")
	}
	a.fails("VolumeDriver.Mount", `{"Name": "theirs", "ID": "4"}`, "control service is not reached")
	// What was asked to be let go of may be so at any time: it is not this node's to use any more.
	a.ok("VolumeDriver.Unmount", `{"Name": "used", "ID": "1"}`)
	asked := m.asked
	a.ok("VolumeDriver.Unmount", `{"Name": "used", "ID": "2"}`)
	deadline := time.After(10 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		m.mu.Lock()
		now := m.asked
		m.mu.Unlock()
		if now > asked {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing was asked to be let go of")
		}
	}
	a.fails("VolumeDriver.Mount", `{"Name": "used", "ID": "5"}`, "control service is not reached")
}

// A node that has read nothing yet does not say that there are no volumes.
func TestANodeThatKnowsNothingSaysSo(t *testing.T) {
	t.Parallel()
	m := newMemory(t, "a")
	m.desired.Revision = 0
	d := m.docker("a")
	d.fails("VolumeDriver.List", "{}", "has not read")
	d.fails("VolumeDriver.Get", `{"Name": "db"}`, "has not read")
}

func TestAMoveThatFailsIsToldWithItsReason(t *testing.T) {
	t.Parallel()
	m := newMemory(t, "a", "b")
	m.docker("a").ok("VolumeDriver.Create", `{"Name": "db"}`)
	b := m.docker("b")
	m.change(func() { m.slow = true })
	go func() {
		m.until("the move to be asked for", func() bool { return len(m.desired.Moves) > 0 })
		m.change(func() {
			mv := m.desired.Moves["move-db"]
			mv.Phase, mv.Reason = cluster.MoveAborted, "no space on b"
			m.desired.Moves[mv.ID] = mv
		})
	}()
	b.fails("VolumeDriver.Mount", `{"Name": "db", "ID": "1"}`, "node a", "no space on b")
}

func TestTheSocketIsRootsAndADeadOneIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flocker", "flocker.sock")
	for range 2 { // the second finds what the first has left
		ln, err := dockerplugin.Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = dockerplugin.Listen(t.Context(), path)
		if !errors.Is(err, cluster.ErrExists) || !strings.Contains(err.Error(), "docker_plugin") {
			t.Errorf("beside a living one: %v", err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		for at, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if f, err := os.Stat(at); err != nil || f.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want %v", at, f.Mode().Perm(), err, want)
			}
		}
	}
}
