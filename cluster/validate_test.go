// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
)

func good() cluster.Application {
	swappiness := int64(10)
	return cluster.Application{
		Name: "db", Image: "registry.example.com:5000/team/postgres:17", Command: []string{"postgres", "-c", "fsync=on"},
		Environment: map[string]string{"POSTGRES_PASSWORD": "s3cret=", "_EMPTY": ""},
		Ports:       []cluster.Port{{Internal: 5432, External: 5432}, {Internal: 5432, External: 5432, Protocol: "udp"}, {Internal: 8080}},
		Links:       []cluster.Link{{LocalPort: 80, RemotePort: 65535, Alias: "Web1"}},
		Volumes: []cluster.Volume{
			{Dataset: "pgdata", MountPoint: "/var/lib/postgresql/data"},
			{Dataset: "wal", MountPoint: "/var/lib/postgresql/data/pg wal", ReadOnly: true},
		},
		MemoryLimit: 1 << 20, CPUShares: 1024, Swappiness: &swappiness,
		Restart: cluster.RestartPolicy{Name: cluster.RestartOnFailure, MaximumRetryCount: 3},
		User:    "999:postgres", StopSignal: "SIGRTMIN+3", StopTimeout: cluster.Duration(time.Minute),
		Health:   &cluster.HealthCheck{Command: []string{"pg_isready"}, Interval: cluster.Duration(time.Second)},
		FailOver: &cluster.FailOver{After: cluster.Duration(time.Second), MaxLoss: cluster.Duration(time.Hour)},
		Hooks:    cluster.Hooks{Preset: "postgres", Quiesce: []string{"sync"}, Timeout: cluster.Duration(time.Second)},
	}
}

func TestGoodApplicationIsAccepted(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	if err := (cluster.Application{Name: "x", Image: "busybox"}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestEachFieldOfAnApplicationIsJudged(t *testing.T) {
	for _, c := range []struct {
		field string
		spoil func(*cluster.Application)
	}{
		{"image", func(a *cluster.Application) { a.Image = "" }},
		{"image", func(a *cluster.Application) { a.Image = ":latest" }},
		{"image", func(a *cluster.Application) { a.Image = "a b" }},
		{"image", func(a *cluster.Application) { a.Image = "--privileged" }},
		{"command[1]", func(a *cluster.Application) { a.Command[1] = strings.Repeat("x", 4097) }},
		{"command", func(a *cluster.Application) { a.Command = make([]string, 4097) }},
		{"environment", func(a *cluster.Application) { a.Environment["A=B"] = "" }},
		{"environment", func(a *cluster.Application) { a.Environment[""] = "" }},
		{"environment.A", func(a *cluster.Application) { a.Environment["A"] = "\x00" }},
		{"environment.A", func(a *cluster.Application) { a.Environment["A"] = strings.Repeat("x", 128<<10) }},
		{"user", func(a *cluster.Application) { a.User = "root:0:0" }},
		{"memory_limit", func(a *cluster.Application) { a.MemoryLimit = -1 }},
		{"memory_limit", func(a *cluster.Application) { a.MemoryLimit = 4096 }},
		{"cpu_shares", func(a *cluster.Application) { a.CPUShares = -1 }},
		{"swappiness", func(a *cluster.Application) { *a.Swappiness = 101 }},
		{"ports[0].internal", func(a *cluster.Application) { a.Ports[0].Internal = 0 }},
		{"ports[0].external", func(a *cluster.Application) { a.Ports[0].External = 65536 }},
		{"ports[1].external", func(a *cluster.Application) { a.Ports[1].Protocol = "tcp" }},
		{"ports[2].protocol", func(a *cluster.Application) { a.Ports[2].Protocol = "sctp" }},
		{"links[0].alias", func(a *cluster.Application) { a.Links[0].Alias = "my-db" }},
		{"links[0].local_port", func(a *cluster.Application) { a.Links[0].LocalPort = -80 }},
		{"links[1].alias", func(a *cluster.Application) {
			a.Links = append(a.Links, cluster.Link{LocalPort: 80, RemotePort: 1, Alias: "wEB1"})
		}},
		{"volumes[0].dataset", func(a *cluster.Application) { a.Volumes[0].Dataset = "" }},
		{"volumes[1].dataset", func(a *cluster.Application) { a.Volumes[1].Dataset = "pgdata" }},
		{"volumes[1].mountpoint", func(a *cluster.Application) { a.Volumes[1].MountPoint = a.Volumes[0].MountPoint }},
		{"restart_policy.name", func(a *cluster.Application) { a.Restart.Name = "sometimes" }},
		{"restart_policy.maximum_retry_count", func(a *cluster.Application) { a.Restart.Name = cluster.RestartAlways }},
		{"restart_policy.maximum_retry_count", func(a *cluster.Application) { a.Restart.MaximumRetryCount = -1 }},
		{"stop_signal", func(a *cluster.Application) { a.StopSignal = "SIGBOGUS" }},
		{"stop_signal", func(a *cluster.Application) { a.StopSignal = "0" }},
		{"stop_timeout", func(a *cluster.Application) { a.StopTimeout = -1 }},
		{"health.command", func(a *cluster.Application) { a.Health.Command = nil }},
		{"health.interval", func(a *cluster.Application) { a.Health.Interval = cluster.Duration(2 * time.Hour) }},
		{"hooks.preset", func(a *cluster.Application) { a.Hooks.Preset = "oracle" }},
		{"fail_over.after", func(a *cluster.Application) { a.FailOver.After = -1 }},
		{"fail_over.max_loss", func(a *cluster.Application) { a.FailOver.MaxLoss = cluster.Duration(10000 * time.Hour) }},
		{"hooks.timeout", func(a *cluster.Application) { a.Hooks.Timeout = -1 }},
	} {
		a := good()
		c.spoil(&a)
		err := a.Validate()
		if got := fields(err); !cmp.Equal(got, []string{"applications.db." + c.field}) {
			t.Errorf("fields = %v; want %s alone (%v)", got, c.field, err)
		}
		if !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("%s: the error is not ErrInvalid: %v", c.field, err)
		}
	}
}

func fields(err error) []string {
	var all []string
	for _, e := range cluster.FieldErrors(err) {
		all = append(all, e.Field)
	}
	return all
}

func TestMountPointsAreCleanAbsolutePaths(t *testing.T) {
	for _, m := range []string{
		"", "data", "./data", "/", "//", "/data/", "/a//b", "/a/./b", "/a/../b", "/..", "/../etc", "/proc", "/proc/sys", "/sys/fs", "/dev",
		"/a\x00b", "/a\nb", "/\xff", "/" + strings.Repeat("x", 5000), `C:\data`,
	} {
		a := good()
		a.Volumes[0].MountPoint = m
		if got := fields(a.Validate()); !cmp.Equal(got, []string{"applications.db.volumes[0].mountpoint"}) {
			t.Errorf("mount point %.40q: fields = %v; want it refused", m, got)
		}
	}
	for _, m := range []string{"/data", "/dev/shm", "/procedures", "/a b", "/dätä", "/..data"} {
		a := good()
		a.Volumes[0].MountPoint = m
		if err := a.Validate(); err != nil {
			t.Errorf("mount point %q: %v", m, err)
		}
	}
}

func TestNamesCannotLeaveTheirPlace(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", "-x", "_x", "a b", "a\x00", "é", "a\n", strings.Repeat("a", 64)} {
		if err := cluster.ValidateApplicationName(name); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("ValidateApplicationName(%.40q) = %v; want ErrInvalid", name, err)
		}
	}
	for _, name := range []string{"a", "A.b_c-d", "0", strings.Repeat("a", 63)} {
		if err := cluster.ValidateApplicationName(name); err != nil {
			t.Errorf("ValidateApplicationName(%q) = %v", name, err)
		}
	}
	if err := cluster.ValidateDatasetName(strings.Repeat("a", 256)); err == nil {
		t.Error("a dataset's name of 256 characters was accepted")
	}
}

func TestEachFieldOfADatasetIsJudged(t *testing.T) {
	whole := func() cluster.Dataset {
		return cluster.Dataset{
			ID: "5bf1b5f9-7a55-4e2b-8b1c-6f6bd0a0c1a1", Name: "pgdata", Size: 1 << 30, Profile: "gold",
			Metadata: map[string]string{"name": strings.Repeat("ä", 256)},
		}
	}
	if err := whole().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field string
		spoil func(*cluster.Dataset)
	}{
		{"id", func(d *cluster.Dataset) { d.ID = "../../etc" }},
		{"id", func(d *cluster.Dataset) { d.ID = "5BF1B5F9-7A55-4E2B-8B1C-6F6BD0A0C1A1" }},
		{"size", func(d *cluster.Dataset) { d.Size = -1 }},
		{"metadata", func(d *cluster.Dataset) { d.Metadata[""] = "x" }},
		{"metadata", func(d *cluster.Dataset) { d.Metadata["x"] = strings.Repeat("x", 257) }},
		{"metadata", func(d *cluster.Dataset) {
			for c := range 16 {
				d.Metadata[string(rune('a'+c))] = ""
			}
		}},
		{"profile", func(d *cluster.Dataset) { d.Profile = "go ld" }},
	} {
		d := whole()
		c.spoil(&d)
		if got := fields(d.Validate()); !cmp.Equal(got, []string{"datasets.pgdata." + c.field}) {
			t.Errorf("fields = %v; want %s alone", got, c.field)
		}
	}
}

func FuzzApplicationValidate(f *testing.F) {
	for _, text := range []string{`{"name":"db","image":"x"}`, `{"name":"\u0000","volumes":[{"mountpoint":"/../"}],"ports":[{"internal":-1}]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var a cluster.Application
		if json.Unmarshal(text, &a) != nil {
			return
		}
		err := a.Validate()
		if err != nil && len(cluster.FieldErrors(err)) == 0 {
			t.Errorf("%v holds no field", err)
		}
		for _, v := range a.Volumes {
			if err == nil && (!strings.HasPrefix(v.MountPoint, "/") || strings.Contains(v.MountPoint, "/../")) {
				t.Errorf("mount point %q was accepted", v.MountPoint)
			}
		}
	})
}
