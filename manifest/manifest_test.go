// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/manifest"
)

const original = `"version": 1
"applications":
  "mongodb-server":
    "image": "clusterhq/mongodb:2.6"
    "ports":
    - "internal": 27017
      "external": 27017
    "volume":
      "mountpoint": "/data/db"
      "maximum_size": "1.5G"
  "frontend":
    "image": "nginx"
    "environment":
      "MODE": "production"
    "links":
    - "local_port": 27017
      "remote_port": 27017
      "alias": "mongo"
    "mem_limit": 100000000
    "cpu_shares": 10
    "restart_policy":
      "name": "on-failure"
      "maximum_retry_count": 10
    "volume":
      "mountpoint": "/var/www"
      "dataset_id": "4ECEC8B5-7E4C-4C79-9D77-0C5A2B6D7E11"
  "spare":
    "image": "busybox"
`

const originalPlaces = `version: 1
nodes:
  172.16.255.250: ["mongodb-server"]
  172.16.255.251: ["frontend"]
  172.16.255.252: []
`

func parse(application, deployment string) (manifest.Manifest, error) {
	return manifest.Parse(manifest.Source{Name: "app.yml", Text: []byte(application)}, manifest.Source{Name: "dep.yml", Text: []byte(deployment)})
}

func TestVersion1IsReadAsTheOriginalDid(t *testing.T) {
	got, err := parse(original, originalPlaces)
	if err != nil {
		t.Fatal(err)
	}
	want := manifest.Manifest{
		Applications: []cluster.Application{{
			Name: "mongodb-server", Image: "clusterhq/mongodb:2.6", Ports: []cluster.Port{{Internal: 27017, External: 27017}},
			Volumes: []cluster.Volume{{Dataset: "mongodb-server", MountPoint: "/data/db"}},
			Restart: cluster.RestartPolicy{Name: cluster.RestartNever}, Node: "172.16.255.250",
		}, {
			Name: "frontend", Image: "nginx", Environment: map[string]string{"MODE": "production"},
			Links:       []cluster.Link{{LocalPort: 27017, RemotePort: 27017, Alias: "mongo"}},
			MemoryLimit: 100000000, CPUShares: 10,
			Restart: cluster.RestartPolicy{Name: cluster.RestartOnFailure, MaximumRetryCount: 10},
			Volumes: []cluster.Volume{{Dataset: "4ecec8b5-7e4c-4c79-9d77-0c5a2b6d7e11", MountPoint: "/var/www"}},
			Node:    "172.16.255.251",
		}},
		Datasets: []cluster.Dataset{
			// The id was calculated apart: md5("mongodb-server") with the version's and the variant's bits set.
			{ID: "66cd06ab-9d4f-4b3d-9f4a-00c9f9c0cb43", Name: "mongodb-server", Metadata: map[string]string{"name": "mongodb-server"}, Size: 3 << 29},
			{ID: "4ecec8b5-7e4c-4c79-9d77-0c5a2b6d7e11"},
		},
		Nodes:    []string{"172.16.255.250", "172.16.255.251", "172.16.255.252"},
		Unplaced: []string{"spare"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFilesMayComeInEitherOrder(t *testing.T) {
	one, err := parse(original, originalPlaces)
	if err != nil {
		t.Fatal(err)
	}
	other, err := parse(originalPlaces, original)
	if diff := cmp.Diff(one, other); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestVersion2HasMore(t *testing.T) {
	got, err := parse(`
version: 2
applications:
  db: &db
    image: postgres:17
    command: [postgres, -c, max_connections=50]
    user: "999"
    ports: [{internal: 5432, external: 5432}, {internal: 53, external: 53, protocol: udp}, {internal: 8080}]
    volumes:
      - {dataset: pgdata, mountpoint: /var/lib/postgresql/data, size: 10G}
      - {dataset: 4ecec8b5-7e4c-4c79-9d77-0c5a2b6d7e11, mountpoint: /wal}
    mem_limit: 512M
    swappiness: 0
    health: {command: [pg_isready], interval: 50ms, timeout: 2s}
    hooks: {preset: postgres, quiesce: [psql, -c, CHECKPOINT], timeout: 10s}
    stop_signal: SIGINT
    stop_timeout: 1m
    ready_when_running: true
    fail_over: {after: 5s, max_loss: 10m}
  reader:
    <<: {image: ignored, restart_policy: {name: always}}
    image: busybox
    volumes: [{dataset: pgdata, mountpoint: /data, read_only: true}]
  alone:
    image: redis
    fail_over: {}
    volumes: [{mountpoint: /data, backend: archive, profile: bronze, uid: 999, gid: 1000, mode: "0750"}]
`, "version: 2\nnodes: {node1: [db, reader], 5f3a: [alone]}\n")
	if err != nil {
		t.Fatal(err)
	}
	never, swappiness := cluster.RestartPolicy{Name: cluster.RestartNever}, int64(0)
	want := manifest.Manifest{
		Applications: []cluster.Application{{
			Name: "db", Image: "postgres:17", Command: []string{"postgres", "-c", "max_connections=50"}, User: "999",
			Ports: []cluster.Port{{Internal: 5432, External: 5432}, {Internal: 53, External: 53, Protocol: "udp"}, {Internal: 8080}},
			Volumes: []cluster.Volume{
				{Dataset: "pgdata", MountPoint: "/var/lib/postgresql/data"},
				{Dataset: "4ecec8b5-7e4c-4c79-9d77-0c5a2b6d7e11", MountPoint: "/wal"},
			},
			MemoryLimit: 512 << 20, Swappiness: &swappiness, Restart: never,
			Health:     &cluster.HealthCheck{Command: []string{"pg_isready"}, Interval: cluster.Duration(50 * time.Millisecond), Timeout: cluster.Duration(2 * time.Second)},
			Hooks:      cluster.Hooks{Preset: "postgres", Quiesce: []string{"psql", "-c", "CHECKPOINT"}, Timeout: cluster.Duration(10 * time.Second)},
			StopSignal: "SIGINT", StopTimeout: cluster.Duration(time.Minute), ReadyWhenRunning: true, Node: "node1",
			FailOver: &cluster.FailOver{After: cluster.Duration(5 * time.Second), MaxLoss: cluster.Duration(10 * time.Minute)},
		}, {
			Name: "reader", Image: "busybox", Restart: cluster.RestartPolicy{Name: cluster.RestartAlways},
			Volumes: []cluster.Volume{{Dataset: "pgdata", MountPoint: "/data", ReadOnly: true}}, Node: "node1",
		}, {
			Name: "alone", Image: "redis", Restart: never, FailOver: &cluster.FailOver{}, Volumes: []cluster.Volume{{Dataset: "alone", MountPoint: "/data"}}, Node: "5f3a",
		}},
		Datasets: []cluster.Dataset{{Name: "pgdata", Size: 10 << 30}, {ID: "4ecec8b5-7e4c-4c79-9d77-0c5a2b6d7e11"}, {Name: "alone", Backend: "archive", Profile: "bronze", Root: cluster.Root{UID: 999, GID: 1000, Mode: "0750"}}},
		Nodes:    []string{"node1", "5f3a"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const app = "version: 2\napplications:\n  a:\n    image: x\n"

func TestBadInputIsNamedWithItsLine(t *testing.T) {
	const places = "version: 1\nnodes: {n: [a]}\n"
	for _, c := range []struct{ application, deployment, want string }{
		{"", places, "app.yml: is empty"},
		{"version: [1\n", places, "app.yml: line 2: is not YAML: "},
		{"\tversion: 1\n", places, "app.yml: line 1: is not YAML: "},
		{app + "---\n" + app, places, "app.yml: holds more than one document"},
		{"- 1\n", places, "app.yml: line 1: must be a map of keys to values, not a list"},
		{"a: \xff", places, "app.yml: is not YAML: "},
		{app, "", "dep.yml: is empty"},
		{app, app, "dep.yml: line 1: is an application file like the other"},
		{places, places, "app.yml: line 1: is a deployment file like the other"},
		{"db:\n  image: postgres\n", places, "app.yml: line 1: is a Fig or Compose file"},
		{"services:\n  db:\n    image: postgres\n", places, "app.yml: line 1: is a Fig or Compose file"},
		{"version: 1\n", places, "app.yml: line 1: is not an application file"},
		{strings.Replace(app, "2", "3", 1), places, "app.yml: line 1: version: 3 is not 1 or 2"},
		{strings.Replace(app, "2", `"1"`, 1), places, "app.yml: line 1: version: must be a whole number, not the text \"1\""},
		{strings.Replace(app, "version: 2\n", "", 1), places, "app.yml: line 1: version: is missing"},
		{app + "more: 1\n", places, "app.yml: line 5: more: is an unknown key; known here: version, applications"},
		{app + "    nope: 1\n", places, "app.yml: line 5: applications.a.nope: is an unknown key"},
		{strings.Replace(app, "2", "1", 1) + "    user: x\n", places, "app.yml: line 5: applications.a.user: is an unknown key"},
		{app + "    image: y\n", places, "app.yml: line 5: applications.a.image: is there twice"},
		{strings.Replace(app, "image: x", "user: x", 1), places, "app.yml: line 3: applications.a.image: is missing"},
		{strings.Replace(app, "image: x", "image:", 1), places, "app.yml: line 4: applications.a.image: must be a text, not nothing"},
		{strings.Replace(app, "image: x", "image: 17", 1), places, "app.yml: line 4: applications.a.image: must be a text, not 17 (int); put it in quotes"},
		{strings.Replace(app, "  a:", "  ../a:", 1), places, "app.yml: line 3: applications.../a: \"../a\" is not a name"},
		{app + "    environment:\n      PORT: 80\n", places, "app.yml: line 6: applications.a.environment.PORT: must be a text"},
		{app + "    ports: {internal: 1}\n", places, "app.yml: line 5: applications.a.ports: must be a list, not a map"},
		{app + "    ports:\n      - {internal: 1, external: -1}\n", places, "app.yml: line 6: applications.a.ports[0].external: -1 is not from 1 to 65535"},
		{app + "    ports:\n      - internal: 99999999999999999999\n", places, "app.yml: line 6: applications.a.ports[0].internal: must be a whole number"},
		{app + "    ports:\n      - internal: 0x10\n", places, "app.yml: line 6: applications.a.ports[0].internal: must be a whole number"},
		{app + "    mem_limit: 10\n", places, "app.yml: line 5: applications.a.mem_limit: 10 is below"},
		{app + "    volume: {mountpoint: data}\n", places, "app.yml: line 5: applications.a.volume.mountpoint: \"data\" is not absolute"},
		{app + "    volume: {mountpoint: /d, maximum_size: 0}\n", places, "app.yml: line 5: applications.a.volume.maximum_size: must be above 0"},
		{app + "    volume: {mountpoint: /d, dataset_id: x}\n", places, "app.yml: line 5: applications.a.volume.dataset_id: \"x\" is not a UUID"},
		{app + "    volumes: [{mountpoint: /d/../e}]\n", places, "app.yml: line 5: applications.a.volumes[0].mountpoint: \"/d/../e\" is to be written \"/e\""},
		{app + "    volumes:\n    - {mountpoint: /d, dataset: x}\n    - {mountpoint: /d, dataset: y}\n", places, "app.yml: line 7: applications.a.volumes[1].mountpoint: \"/d\" is there twice"},
		{app + "    volumes:\n    - {mountpoint: /d, dataset: x}\n    - {mountpoint: /e}\n", places, "app.yml: line 7: applications.a.volumes[1].dataset: is missing"},
		{app + "    volumes: [{mountpoint: /d, dataset: ../x}]\n", places, "app.yml: line 5: applications.a.volumes[0].dataset: \"../x\" is not a name"},
		{app + "    volumes: [{mountpoint: /d, read_only: maybe}]\n", places, "app.yml: line 5: applications.a.volumes[0].read_only: must be true or false"},
		{app + "    volumes: [{mountpoint: /d, mode: '0788'}]\n", places, "app.yml: line 5: applications.a.volumes[0].mode: \"0788\" is not octal"},
		{app + "    volumes: [{mountpoint: /d, mode: 0750}]\n", places, "app.yml: line 5: applications.a.volumes[0].mode: must be a text"},
		{app + "    volumes: [{mountpoint: /d, uid: -1}]\n", places, "app.yml: line 5: applications.a.volumes[0].uid: -1 is out of range"},
		{app + "    volumes: [{mountpoint: /d, gid: 4294967295}]\n", places, "app.yml: line 5: applications.a.volumes[0].gid: 4294967295 is nobody's"},
		{app + "    volumes: [{mountpoint: /d, read_only: true, profile: x}]\n", places, "app.yml: line 5: applications.a.volumes[0].profile: goes with a volume that is written to"},
		{app + "    volumes: [{mountpoint: /d, read_only: true, backend: x}]\n", places, "app.yml: line 5: applications.a.volumes[0].backend: goes with a volume that is written to"},
		{app + "    stop_timeout: 10\n", places, "app.yml: line 5: applications.a.stop_timeout: must be a time such as 500ms"},
		{app + "    health: {command: pg_isready}\n", places, "app.yml: line 5: applications.a.health.command: must be a list"},
		{app + "    restart_policy: {name: always, maximum_retry_count: 1}\n", places, "app.yml: line 5: applications.a.restart_policy.maximum_retry_count: goes with on-failure only"},
		{app + "  b: {image: x, volumes: [{mountpoint: /d, dataset: d}]}\n  c: {image: x, volumes: [{mountpoint: /d, dataset: d}]}\n", places, "app.yml: line 6: applications.c.volumes[0]: dataset d is written by application b too"},
		{app + "  b: {image: x, ports: [{internal: 1, external: 80}]}\n  c: {image: x, ports: [{internal: 1, external: 80}]}\n", "version: 1\nnodes: {n: [b, c]}", "app.yml: line 6: applications.c.ports[0].external: 80/tcp is published by application b too; choose another external port for one of them"},
		{app + "    ports:\n      - {internal: 1, external: 22}\n", places, "app.yml: line 6: applications.a.ports[0].external: 22/tcp is kept for SSH, the way into every node; choose another external port"},
		{app + "    ports:\n      - {internal: 1, external: 80}\n      - {internal: 2, external: 80}\n", places, "app.yml: line 7: applications.a.ports[1].external: 80/tcp is published by ports[0] already; choose another"},
		{app + "    ports:\n      - {internal: 1, external: 80, protocol: sctp}\n", places, "app.yml: line 6: applications.a.ports[0].protocol: \"sctp\" is neither tcp nor udp"},
		{app + "  b: {image: x, volume: {mountpoint: /d}}\n  c: {image: x, volumes: [{mountpoint: /d, dataset: b, read_only: true}]}\n", "version: 1\nnodes: {n: [b], m: [c]}", "app.yml: line 6: applications.c.volumes[0]: application b uses dataset b too, so that both must be on one node; they are on n and m"},
		{app, "version: 1\nnodes:\n  n: [a]\n  m: [a]\n", "dep.yml: line 4: nodes.m[0]: application \"a\" is on node n already"},
		{app, "version: 1\nnodes:\n  n: [b]\n", "dep.yml: line 3: nodes.n[0]: application \"b\" is not in app.yml"},
		{app, "version: 1\nnodes:\n  n: a\n", "dep.yml: line 3: nodes.n: must be a list, not the text \"a\""},
		{app, "version: 1\nnodes:\n  n: [[a]]\n", "dep.yml: line 3: nodes.n[0]: must be a text, not a list"},
	} {
		_, err := parse(c.application, c.deployment)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Parse(%q, %q) = %v; want %s…", c.application, c.deployment, err, c.want)
		}
		if !errors.Is(err, cluster.ErrInvalid) || len(cluster.FieldErrors(err)) == 0 {
			t.Errorf("Parse(%q, %q): %v holds no field error", c.application, c.deployment, err)
		}
	}
}

func TestAllProblemsAreToldAtOnceButNotTooMany(t *testing.T) {
	_, err := parse(app+"    nope: 1\n    user: 1\n", "version: 1\nnodes: {n: [b]}\n")
	if got := len(cluster.FieldErrors(err)); got != 3 {
		t.Errorf("%d problems; want 3: %v", got, err)
	}
	var many strings.Builder
	many.WriteString(app)
	for range 100 {
		many.WriteString("    nope: 1\n")
	}
	_, err = parse(many.String(), "version: 1\nnodes: {n: [a]}\n")
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 21 || !strings.Contains(lines[20], "more") {
		t.Errorf("%d lines; want 20 and how many more", len(lines))
	}
}

func TestHugeAndExplodingFilesAreRefused(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("version: 2\nx0: &x0 {image: x}\n")
	bomb.WriteString("applications:\n  a: {image: x, environment: {}, command: &c [" + strings.Repeat("x,", 2000) + "x]}\n")
	for i := range 500 {
		bomb.WriteString("  a" + strings.Repeat("b", i%50) + string(rune('a'+i/50)) + ": {image: x, command: *c}\n")
	}
	for name, text := range map[string]string{
		"10 MB":          "version: 1\napplications: {}\n#" + strings.Repeat("x", 10<<20),
		"deep":           "version: 1\napplications: " + strings.Repeat("[", 20000),
		"deep maps":      "version: 1\napplications: " + strings.Repeat("{a: ", 20000),
		"cycle":          "version: 1\napplications: &a {b: *a}\n",
		"merge cycle":    "version: 1\napplications: &a {<<: *a, b: {image: x}, c: *a}\n",
		"bomb":           bomb.String(),
		"billion laughs": "version: 1\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\napplications: {c: *c}\n",
	} {
		begun := time.Now()
		if _, err := parse(text, "version: 1\nnodes: {}\n"); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestTheDocumentedExampleIsGood(t *testing.T) {
	text, err := os.ReadFile("../docs/application-files.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```")
	m, err := parse(strings.TrimPrefix(parts[1], "yaml"), strings.TrimPrefix(parts[3], "yaml"))
	if err != nil || len(m.Applications) != 1 || m.Applications[0].Node != "node1" {
		t.Errorf("Parse of the examples = %+v, %v", m, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(original), []byte(originalPlaces))
	f.Add([]byte(app+"    volumes: [{mountpoint: /d, size: 1G}]\n"), []byte("version: 1\nnodes: {n: [a]}"))
	f.Add([]byte("version: 1\napplications: &a {<<: [*a, {b: *a}], b: {image: x}}"), []byte(`{"version": 1, "nodes": {"n": ["b"]}}`))
	if text, err := os.ReadFile("../docs/application-files.md"); err == nil {
		f.Add(text, []byte(originalPlaces))
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		m, err := manifest.Parse(manifest.Source{Name: "one", Text: one}, manifest.Source{Name: "other", Text: other})
		if err != nil {
			if !errors.Is(err, cluster.ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			return
		}
		for _, a := range m.Applications {
			if err := a.Validate(); err != nil {
				t.Errorf("an application that is not valid was accepted: %v", err)
			}
		}
		for _, d := range m.Datasets {
			if d.Name != "" && d.Validate() != nil {
				t.Errorf("a dataset that is not valid was accepted: %v", d.Validate())
			}
		}
	})
}
