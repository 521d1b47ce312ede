// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/docker"
)

// resolve asks in the application's container; nothing is that the name is not known there.
func resolve(t *testing.T, e *docker.Engine, application, name string) string {
	t.Helper()
	code, out, err := e.Exec(t.Context(), application, []string{"/probe", "resolve=" + name})
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		return ""
	}
	return strings.TrimSpace(out)
}

func setHosts(t *testing.T, e *docker.Engine, application string, hosts map[string]netip.Addr) {
	t.Helper()
	if err := e.SetHosts(t.Context(), application, hosts); err != nil {
		t.Fatalf("SetHosts() = %v", err)
	}
}

// Docker writes the holder's file anew when it starts.
func TestNamesSurviveARestartOfTheHolder(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	start(t, e, a)
	db := addresses.Of("db of " + a.Name)
	setHosts(t, e, a.Name, map[string]netip.Addr{"db": db, a.Name: addresses.Of(a.Name)})
	killAll(t, a)
	start(t, e, a)
	if got := resolve(t, e, a.Name, "db"); got != db.String() {
		t.Errorf("after a restart db is %q; want %s", got, db)
	}
	if got := resolve(t, e, a.Name, a.Name); got != addresses.Of(a.Name).String() {
		t.Errorf("after a restart the application knows itself as %q; want its address, once", got)
	}
}

func TestNamesOfTheSystemStay(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	start(t, e, a)
	other := addresses.Of("other of " + a.Name)
	path := inspect(t, container.HolderPrefix+a.Name).HostsPath
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	setHosts(t, e, a.Name, map[string]netip.Addr{"localhost": other, "LocalHost": other, a.Name: other})
	after, err := os.ReadFile(path)
	if err != nil || string(before) != string(after) {
		t.Errorf("names that are there already changed the file, %v:\n%s", err, after)
	}
	setHosts(t, e, a.Name, map[string]netip.Addr{"db": other})
	if after, err = os.ReadFile(path); err != nil || !strings.HasPrefix(string(after), string(before)) {
		t.Errorf("lines of others are gone, %v:\n%s", err, after)
	}
}

func TestNamesAreNotWrittenIntoAStrangersContainer(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	foreign(t, container.HolderPrefix+a.Name, nil)
	if err := e.SetHosts(t.Context(), a.Name, nil); err == nil {
		t.Error("SetHosts() = nil; want an error")
	}
	options := client.ContainerInspectOptions{}
	if _, err := shared.api.ContainerInspect(t.Context(), container.HolderPrefix+a.Name, options); err != nil {
		t.Error(err)
	}
}
