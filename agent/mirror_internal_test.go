// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// What other nodes see wakes an agent only where a plan can rest on it: nodes that are busy would keep all others awake.
func TestOnlyWhatAPlanRestsOnStirs(t *testing.T) {
	const self, other cluster.NodeID = "self", "other"
	has := func(used int64, snapshots ...string) cluster.Observed {
		c := cluster.Copy{Dataset: "d", Used: used}
		for _, name := range snapshots {
			c.Snapshots = append(c.Snapshots, cluster.Snapshot{Name: name, Used: used})
		}
		return cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{"d": c}}
	}
	report := func(id cluster.NodeID, o cluster.Observed) api.WatchEvent {
		return api.WatchEvent{Put: &api.DesiredPart{Elsewhere: map[cluster.NodeID]cluster.Observed{id: o}}}
	}
	busy := has(1, "s1")
	busy.Containers = map[string]cluster.Container{"db": {State: cluster.ContainerRunning}}
	busy.Storage.Free = 7
	m := newMirror(self)
	m.apply(api.WatchEvent{Full: &cluster.Desired{Elsewhere: map[cluster.NodeID]cluster.Observed{other: has(1, "s1")}}})
	for _, step := range []struct {
		what  string
		event api.WatchEvent
		stirs bool
	}{
		{"nothing", api.WatchEvent{}, false},
		{"data that grows", report(other, has(2, "s1")), false},
		{"another node's containers and free space", report(other, busy), false},
		{"another node's snapshot", report(other, has(2, "s1", "s2")), true},
		{"another node's copy gone", report(other, cluster.Observed{}), true},
		{"a node not heard of before", report("third", cluster.Observed{}), true},
		{"this node's own report", report(self, has(1, "s1")), false},
		{"a move", api.WatchEvent{Put: &api.DesiredPart{Moves: []cluster.Move{{ID: "m"}}}}, true},
		{"a deletion", api.WatchEvent{Delete: &api.DesiredKeys{Applications: []string{"db"}}}, true},
	} {
		if got := m.apply(step.event); got != step.stirs {
			t.Errorf("%s stirs: %v", step.what, got)
		}
	}
}
