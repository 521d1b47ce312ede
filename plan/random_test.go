// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/flocker-project/flocker/cluster"
)

// The names that random states are made of: few, so that they meet.
var (
	nodes    = []cluster.NodeID{"me", "other", "third"}
	datasets = []cluster.DatasetID{"d1", "d2"}
	names    = []string{"db", "web"}
	moves    = []cluster.MoveID{"m1", "m2"}
)

func pick[T any](t *rapid.T, label string, list ...T) T {
	return rapid.SampledFrom(list).Draw(t, label)
}

func often(t *rapid.T, label string) bool { return rapid.IntRange(0, 7).Draw(t, label) > 0 }

// anything draws a desired state and an observation that may contradict themselves and each other in any way.
func anything(t *rapid.T) (cluster.Desired, cluster.Observed) {
	d := cluster.NewDesired()
	d.Complete, d.Session = often(t, "complete"), pick(t, "session", "s1", "s1", "s1", "s1", "s2", "")
	for _, id := range nodes {
		if often(t, "node") {
			n := cluster.Node{ID: id, Name: string(id), BootID: pick(t, "boot", "b1", "b1", "b1", "b2"), Session: pick(t, "alive", "x", "")}
			n.Protocol = pick(t, "protocol", 1, 1, 1, 2)
			if !often(t, "not fenced") {
				n.Fence = &cluster.Fence{By: "operator", BootID: pick(t, "fenced boot", "b1", "b0")}
			}
			d.Nodes[id] = n
			d.Elsewhere[id] = cluster.Observed{Node: id, Copies: copies(t), Storage: cluster.Storage{Machine: pick(t, "machine", "m-"+string(id), "m-"+string(id), "m-"+string(id), "m-me")}}
		}
	}
	for _, id := range datasets {
		if often(t, "dataset") {
			d.Datasets[id] = dataset(t, id)
		}
	}
	for _, name := range names {
		if often(t, "application") {
			d.Applications[name] = application(t, name)
		}
	}
	for _, id := range moves {
		if often(t, "move") {
			d.Moves[id] = move(t, id)
		}
	}
	return d, observed(t)
}

func dataset(t *rapid.T, id cluster.DatasetID) cluster.Dataset {
	epoch := cluster.Epoch(rapid.IntRange(0, 4).Draw(t, "epoch"))
	return cluster.Dataset{
		ID: id, Owner: pick[cluster.NodeID](t, "owner", "me", "me", "other", "third", ""), Epoch: epoch,
		Eviction: cluster.Eviction{Node: pick[cluster.NodeID](t, "evicted", "", "other", "third", "me"), Epoch: pick(t, "evicted at", epoch, epoch, 2)},
		Move:     pick[cluster.MoveID](t, "d.move", "", "", "m1", "m2", "m9"), Born: rapid.Bool().Draw(t, "born"),
		Deleted: !often(t, "not deleted"), Adopt: pick(t, "adopt", "", "", "", "s1"), Size: pick(t, "size", int64(0), 1<<30),
		Backend: pick(t, "backend", "", "sim", "sim", "zfs"), Snapshots: kept(t, id), Rollback: rollback(t), Origin: origin(t),
	}
}

func origin(t *rapid.T) *cluster.Origin {
	if rapid.Bool().Draw(t, "no origin") {
		return nil
	}
	via := pick[cluster.DatasetID](t, "copied by way of", "", "d1", "d2", "d9")
	return &cluster.Origin{Via: via, Dataset: pick[cluster.DatasetID](t, "cloned from", "d1", "d2", "d9"), Snapshot: pick[cluster.SnapshotID](t, "cloned of", "k0", "k1")}
}

func rollback(t *rapid.T) *cluster.Rollback {
	if often(t, "no rollback") {
		return nil
	}
	return &cluster.Rollback{To: pick[cluster.SnapshotID](t, "to", "k0", "k1", "k2"), Kept: pick[cluster.SnapshotID](t, "keeps", "k0", "k1", "k2")}
}

func kept(t *rapid.T, id cluster.DatasetID) []cluster.KeptSnapshot {
	var list []cluster.KeptSnapshot
	for i := range rapid.IntRange(0, 3).Draw(t, "kept") {
		k := cluster.KeptSnapshot{ID: cluster.SnapshotID(fmt.Sprint("k", i)), Name: fmt.Sprint("k", i), Removed: !often(t, "not removed"), Quiesce: rapid.Bool().Draw(t, "quiesce")}
		if rapid.Bool().Draw(t, "taken") {
			n := rapid.IntRange(0, 3).Draw(t, "taken as")
			k.Taken = &cluster.Snapshot{Name: fmt.Sprint("s", n), ID: fmt.Sprint(id, "@s", n), Epoch: cluster.Epoch(1 + n/2), Serial: uint64(n)}
		}
		if k.Application = pick(t, "of", "", "", "db", "web", "gone"); k.Application != "" {
			k.Group = pick(t, "group", "g1", "g2")
		}
		list = append(list, k)
	}
	return list
}

func application(t *rapid.T, name string) cluster.Application {
	a := cluster.Application{
		Name: name, Image: pick(t, "image", "a", "b"), Node: pick[cluster.NodeID](t, "placed", "me", "me", "other", "third", ""),
		Move: pick[cluster.MoveID](t, "a.move", "", "", "m1", "m2", "m9"), Deleted: !often(t, "not deleted"),
		Restart: cluster.RestartPolicy{Name: pick(t, "policy", cluster.RestartNever, cluster.RestartAlways, cluster.RestartOnFailure, "often")},
		Ports:   []cluster.Port{{Internal: 80, External: pick(t, "external", 0, 8080)}},
		Address: pick(t, "own address", "", "10.144.0.9"),
	}
	for _, id := range append(datasets, "d9") {
		if rapid.IntRange(0, 2).Draw(t, "uses") == 0 {
			a.Volumes = append(a.Volumes, cluster.Volume{Dataset: id, MountPoint: "/" + string(id)})
		}
	}
	return a
}

func move(t *rapid.T, id cluster.MoveID) cluster.Move {
	m := cluster.Move{
		ID: id, Attempt: rapid.IntRange(0, 2).Draw(t, "attempt"), Mode: pick(t, "mode", cluster.ModeRestart, cluster.ModeRestart, cluster.ModeLive, "warp"),
		Phase: pick(t, "phase", cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveHandedOver,
			cluster.MoveCommitted, cluster.MoveCleaned, cluster.MoveAborted, cluster.MoveTakenBack, "folded"),
		Source: pick[cluster.NodeID](t, "source", "me", "me", "other", ""), Target: pick[cluster.NodeID](t, "target", "other", "me", "other", "third", ""),
		CancelRequested: !often(t, "not cancelled"),
	}
	for _, d := range datasets {
		if often(t, "moves dataset") {
			m.Datasets = append(m.Datasets, d)
		}
	}
	for _, a := range names {
		if often(t, "moves application") {
			m.Applications = append(m.Applications, a)
		}
	}
	return m
}

func copies(t *rapid.T) map[cluster.DatasetID]cluster.Copy {
	list := map[cluster.DatasetID]cluster.Copy{}
	for _, id := range append(datasets, "d9") {
		if rapid.Bool().Draw(t, "copy") {
			continue
		}
		c := cluster.Copy{Dataset: id, Backend: pick(t, "in", "", "", "sim", "zfs"), Head: often(t, "head"), Divergent: !often(t, "not divergent"), Size: pick(t, "size", int64(0), 1<<30)}
		if c.Head {
			c.Epoch = cluster.Epoch(rapid.IntRange(1, 4).Draw(t, "head epoch"))
			c.Mounted = pick(t, "mounted", "", "/flocker/"+string(id))
			c.Scratch = pick[cluster.MoveID](t, "scratch", "", "", "m1", "m2", "m9")
		}
		c.Volume, c.Holder = pick(t, "volume", "", "v1", "v1"), pick(t, "holder", "", "", "m-me", "m-other", "m-third", "m-nobody")
		if c.Head || rapid.Bool().Draw(t, "device") {
			c.Device = "device"
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "snapshots") {
			c.Snapshots = append(c.Snapshots, cluster.Snapshot{Name: fmt.Sprint("s", i), ID: fmt.Sprint(id, "@s", i), Epoch: cluster.Epoch(1 + i/2), Serial: uint64(i)})
		}
		list[id] = c
	}
	return list
}

func observed(t *rapid.T) cluster.Observed {
	o := cluster.Observed{
		Node: pick[cluster.NodeID](t, "me", "me", "me", "me", "me", "me", "me", ""), BootID: pick(t, "my boot", "b1", "b1", "b1", "b2"),
		Session: pick(t, "my session", "s1", "s1", "s1", "s1", "s2", ""), Copies: copies(t), Containers: map[string]cluster.Container{},
		Claims: map[cluster.MoveID]bool{}, Noted: map[cluster.MoveID]int{}, Overdue: map[cluster.MoveID]bool{},
		Storage: cluster.Storage{Backend: "sim", Capabilities: cluster.Capabilities{Replicates: true, Resizes: true, Snapshots: true}},
	}
	if rapid.Bool().Draw(t, "network storage") {
		o.Storage.Machine, o.Storage.Capabilities = "m-me", cluster.Capabilities{Attaches: true, Resizes: true, Fences: rapid.Bool().Draw(t, "fences")}
	}
	if rapid.IntRange(0, 3).Draw(t, "storage fails") == 0 {
		o.Storage.Error = "the pool is not mounted"
	}
	if rapid.Bool().Draw(t, "two back ends") {
		o.Further = map[string]cluster.Storage{"zfs": {Backend: "zfs", Capabilities: cluster.Capabilities{Replicates: true, Snapshots: true}, Error: pick(t, "zfs works", "", "no answer")}}
	}
	for _, name := range append(names, "unknown") {
		if rapid.Bool().Draw(t, "container") {
			continue
		}
		a := application(t, name)
		o.Containers[name] = cluster.Container{
			Application: name, Spec: a.SpecHash(), Datasets: a.DatasetIDs(), Ended: rapid.Bool().Draw(t, "ended"), ExitCode: rapid.IntRange(0, 1).Draw(t, "exit"),
			State:    pick(t, "state", cluster.ContainerCreated, cluster.ContainerRunning, cluster.ContainerRunning, cluster.ContainerExited, cluster.ContainerPaused, "odd"),
			GateOpen: rapid.Bool().Draw(t, "gate"), Address: pick(t, "address", "", "10.0.0.2"),
		}
	}
	for _, id := range moves {
		switch rapid.IntRange(0, 7).Draw(t, "function") {
		case 0:
			o.Claims[id] = true
		case 1:
			o.Claims[id] = false
		case 2:
			o.Noted[id] = rapid.IntRange(0, 2).Draw(t, "noted")
		case 3:
			o.Overdue[id] = true
		}
	}
	return o
}
