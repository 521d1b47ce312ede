// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// teller is a runtime that is told names.
type teller struct {
	container.Engine
	told []string // which application, how often
	gone string   // an application whose holder has just gone
}

func (e *teller) SetHosts(_ context.Context, app string, hosts map[string]netip.Addr) error {
	if app == e.gone {
		return container.ErrNotFound
	}
	e.told = append(e.told, app)
	return nil
}

// Each holder is told the names once, a new one again, and all when a name comes or goes.
func TestHoldersAreToldNamesWhenTheyDoNotKnowThem(t *testing.T) {
	engine := &teller{}
	a := &Agent{Config: Config{Engine: engine, Log: slog.New(slog.DiscardHandler)}, names: map[string]named{}, places: map[string]string{}}
	desired := cluster.NewDesired()
	desired.Applications["db"] = cluster.Application{Name: "db", Address: "10.144.0.9"}
	desired.Applications["web"] = cluster.Application{Name: "web", Address: "10.144.0.10"}
	found := func(app, netns string) container.Found {
		return container.Found{Container: cluster.Container{Application: app}, Ours: true, Netns: netns}
	}
	look := func(want string, all ...container.Found) {
		t.Helper()
		engine.told = nil
		a.forgetPlaces(all)
		for _, f := range all {
			a.sawPlace(f)
		}
		a.tellNames(t.Context(), desired)
		if slices.Sort(engine.told); strings.Join(engine.told, " ") != want {
			t.Errorf("told were %v; want %q", engine.told, want)
		}
	}
	look("db web", found("db", "/proc/1"), found("web", "/proc/2"))
	look("", found("db", "/proc/1"), found("web", "/proc/2"))
	look("web", found("db", "/proc/1"), found("web", "/proc/3"))
	look("", found("db", "/proc/1"))
	look("web", found("db", "/proc/1"), found("web", "/proc/3"))
	delete(desired.Applications, "web")
	look("db", found("db", "/proc/1"))
	engine.gone = "db"
	desired.Applications["new"] = cluster.Application{Name: "new", Address: "10.144.0.11"}
	look("", found("db", "/proc/1"))
	engine.gone = ""
	look("db", found("db", "/proc/1"))
}

// A node's part of the cluster network names all others as peers, and says whose address is none.
func TestFabricOfANode(t *testing.T) {
	d := cluster.NewDesired()
	d.Fabric.Subnet = "10.9.0.0/16"
	d.Nodes["a"] = cluster.Node{ID: "a", Name: "alpha", Address: "192.0.2.1", ClusterAddress: "10.9.0.2"}
	d.Nodes["b"] = cluster.Node{ID: "b", Name: "beta", Address: "192.0.2.2", ClusterAddress: "10.9.0.3"}
	f, err := fabricOf(d, "a", true)
	if err != nil || f.Check() != nil || f.Address.String() != "10.9.0.2" || f.Service.String() != "10.9.0.1" ||
		len(f.Peers) != 1 || f.Peers[0].String() != "192.0.2.2" {
		t.Errorf("fabricOf() = %+v, %v", f, err)
	}
	d.Nodes["b"] = cluster.Node{ID: "b", Name: "beta", Address: "beta.example"}
	if _, err := fabricOf(d, "a", true); err == nil || !strings.Contains(err.Error(), "node beta") {
		t.Errorf("fabricOf() of a node without an IP address = %v", err)
	}
}
