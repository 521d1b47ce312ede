// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/zfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// profiles that every version of ZFS has.
var profiles = backend.Profiles{
	"gold":   {"recordsize": "16K", "copies": "2", "logbias": "throughput"},
	"bronze": {"compression": "gzip-9"},
}

// offer opens a pool again with other profiles.
func (h *harness) offer(t *testing.T, p backend.Profiles) {
	t.Helper()
	h.config.Profiles = p
	h.Reopen(t)
}

// kept are the properties of the filesystem that is a dataset's head, or of its newest line.
func (h *harness) kept(t *testing.T, id cluster.DatasetID) string {
	t.Helper()
	found := ""
	names := command(t, "zfs", "list", "-H", "-o", "name", "-r", "-t", "filesystem", h.config.Pool)
	for name := range strings.Lines(names) {
		name = strings.TrimSpace(name)
		if !strings.Contains(name, string(id)) {
			continue
		}
		of := command(t, "zfs", "get", "-H", "-o", "value", "recordsize,copies,logbias,compression,org.flocker:profile", name)
		head := command(t, "zfs", "get", "-H", "-o", "value", "org.flocker:head", name)
		if found == "" || strings.HasPrefix(head, "{") {
			found = strings.Join(strings.Fields(of), " ")
		}
	}
	return found
}

const (
	goldIs   = "16K 2 throughput off gold"
	bronzeIs = "128K 1 latency gzip-9 bronze"
	plainIs  = "128K 1 latency off -"
)

func TestADatasetIsKeptAsItsProfileSays(t *testing.T) {
	h := newPool(t, 256<<20)
	h.offer(t, profiles)
	for profile, want := range map[string]string{"gold": goldIs, "bronze": bronzeIs, "": plainIs} {
		id := cluster.DatasetID(uuid.NewString())
		mustAll(t, h.driver.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Profile: profile}))
		if got := h.kept(t, id); got != want {
			t.Errorf("a dataset of profile %q has %s; want %s", profile, got, want)
		}
	}
	h.left(t)
}

// A dataset keeps its profile on the node it moves to, from the first copy on, and there when it is cloned; so does one of whose copy another
// line is made.
func TestAProfileMovesWithItsDataset(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	a.offer(t, profiles)
	b.offer(t, profiles)
	mustAll(t,
		a.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1, Profile: "gold"}),
		a.driver.Mount(t.Context(), dataset, a.Path(dataset)),
		a.Write(dataset, "first", []byte("1")))
	one := a.snapshot(t, dataset, 1, 1)
	shipAs(t, a, b, backend.Arrival{Dataset: dataset, Profile: "gold"}, one)
	if got := b.kept(t, dataset); got != goldIs {
		t.Errorf("what was received has %s; want %s", got, goldIs)
	}
	mustAll(t, a.Write(dataset, "second", []byte("2")))
	two := a.snapshot(t, dataset, 1, 2)
	shipAs(t, a, b, backend.Arrival{Dataset: dataset, Base: one.Name, Profile: "gold"}, two)
	clone := cluster.DatasetID(uuid.NewString())
	mustAll(t,
		b.driver.Clone(t.Context(), dataset, one.Name, backend.Spec{Dataset: dataset, Epoch: 2, Profile: "gold"}, ""), // a line of its own
		b.driver.Clone(t.Context(), dataset, two.Name, backend.Spec{Dataset: clone, Epoch: 1, Profile: "gold"}, ""))
	for _, id := range []cluster.DatasetID{dataset, clone} {
		if got := b.kept(t, id); got != goldIs {
			t.Errorf("head %s has %s; want %s", id, got, goldIs)
		}
	}
	b.left(t)
}

// Where nothing is known of a profile, a copy is whole all the same, and gets the profile when the node has it and makes a head of it.
func TestAProfileThatANodeLearnsLater(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	a.offer(t, profiles)
	mustAll(t, a.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1, Profile: "bronze"}))
	one := a.snapshot(t, dataset, 1, 1)
	shipAs(t, a, b, backend.Arrival{Dataset: dataset, Profile: "bronze"}, one)
	if got := b.kept(t, dataset); got != plainIs {
		t.Errorf("what was received has %s; want %s", got, plainIs)
	}
	b.offer(t, profiles)
	mustAll(t, b.driver.Clone(t.Context(), dataset, one.Name, backend.Spec{Dataset: dataset, Epoch: 2, Profile: "bronze"}, ""))
	if got := b.kept(t, dataset); got != bronzeIs {
		t.Errorf("the head has %s; want %s", got, bronzeIs)
	}
}

func TestAProfileThatThisZFSCannotHaveIsRefusedAtTheStart(t *testing.T) {
	h := newPool(t, 256<<20)
	large := []string{"-o", "recordsize=16M"}
	probe := run.Command(context.WithoutCancel(t.Context()), "zfs", append(append([]string{"create"}, large...), h.pool+"/probe")...)
	if probe.Run() == nil {
		command(t, "zfs", "destroy", h.pool+"/probe")
		t.Skip("this ZFS has blocks of 16 MiB")
	}
	mustAll(t, h.driver.Close())
	h.config.Profiles = backend.Profiles{"gold": {"recordsize": "16M"}, "bronze": {"compression": "on"}}
	_, err := zfs.Open(t.Context(), h.config, slog.New(slog.DiscardHandler))
	if found := cluster.FieldErrors(err); len(found) != 1 || found[0].Field != "profiles.gold.recordsize" || !strings.Contains(found[0].Problem, "no 16M: ") {
		t.Errorf("Open = %v; want profiles.gold.recordsize with what ZFS says", err)
	}
	h.config.Profiles = nil
	h.driver = open(t, h.config)
	h.left(t)
	h.unset(t)
}

// unset wants none of a profile's properties where what is received would inherit them.
func (h *harness) unset(t *testing.T) {
	t.Helper()
	set := command(t, "zfs", "get", "-H", "-o", "property,value", "-s", "local", "all", h.config.Pool+"/flocker.incoming")
	for _, o := range zfs.ProfileOptions() {
		if strings.Contains("\n"+set, "\n"+o.Name+"\t") {
			t.Errorf("%s is left on flocker.incoming: %s", o.Name, set)
		}
	}
}

func TestWhatACrashLeavesOfATriedProfileGoes(t *testing.T) {
	h := newPool(t, 256<<20)
	command(t, "zfs", "set", "copies=3", h.config.Pool+"/flocker.incoming")
	h.offer(t, profiles)
	h.unset(t)
	h.offer(t, nil)
	h.unset(t)
}

func TestProfilesTakeNothingThatCostsAPromise(t *testing.T) {
	good := backend.Profiles{
		"a": {"compression": "zstd-3", "recordsize": "1M", "sync": "always"},
		"b": {"compression": "zstd-fast-10", "primarycache": "metadata", "secondarycache": "none"}, "c": {"compression": "zstd-19", "copies": "3"},
		"d": {"compression": "off", "recordsize": "512"}, "e": {"compression": "gzip"},
	}
	if err := good.Check(zfs.ProfileOptions()); err != nil {
		t.Error(err)
	}
	for option, value := range map[string]string{
		"sync": "disabled", "checksum": "off", "canmount": "on", "mountpoint": "/", "refquota": "1G", "recordsize": "17K", "copies": "0",
		"compression": "zstd-20", "compression ": "lz4", "org.flocker:head": "{}", "logbias": "",
	} {
		if err := (backend.Profiles{"x": {option: value}}).Check(zfs.ProfileOptions()); len(cluster.FieldErrors(err)) != 1 {
			t.Errorf("%s=%s: %v; want one refusal", option, value, err)
		}
	}
}
