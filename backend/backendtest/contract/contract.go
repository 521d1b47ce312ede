// SPDX-License-Identifier: Apache-2.0

// Package contract is the contract of stores of network volumes as checks, which run in tests and in the program itself.
package contract

import "github.com/flocker-project/flocker/backend"

// Store is a store of network volumes under test, which two machines share.
type Store interface {
	machinery
	// OtherCluster opens the store for another cluster, nil where each has a store of its own.
	OtherCluster(t T) backend.Volumes
	// Mounts is a folder for mount points, which goes away with the test and all that is in it.
	Mounts(t T) string
	// Smallest is the size of the smallest volume that a filesystem fits into.
	Smallest() int64
	// Layer opens backend/block over a store, nil where the devices have nothing behind them.
	Layer(t T, store backend.Volumes, around ...backend.Around) backend.Driver
	Tamperer
}

// machinery is what shares a store.
type machinery interface {
	// Machines is 2, or 1 where the second is not at hand: what needs two is then skipped.
	Machines() int
	// Machine opens the store as a process that starts on the first or the second machine does.
	Machine(t T, i int) backend.Volumes
}

// Tamperer does with a store what its own tools can.
type Tamperer interface {
	// Foreign puts things into the store that are nobody's; intact says whether all are still there.
	Foreign(t T) (intact func() error)
	// Vanish removes a volume behind everybody's back.
	Vanish(t T, v backend.Volume)
	// Twin makes another volume that is marked as the dataset's; false where the store cannot have two.
	Twin(t T, v backend.Volume) bool
}

// Volumes checks the contract of stores and then, where the devices are real, that of backend/block over the store.
func Volumes(t T, open func(t T) Store) {
	parts := []struct {
		name    string
		test    func(T, Store)
		devices bool
		points  bool // of stores that have snapshots
	}{
		{"Names", testNames, false, false},
		{"Lifecycle", testVolumeLife, false, false},
		{"Attach", testVolumeAttach, false, false},
		{"Foreign", testForeignVolumes, false, false},
		{"Race", testVolumeRace, false, false},
		{"Many", testManyVolumes, false, false},
		{"LostAnswers", testVolumeLostAnswers, false, false},
		{"Evict", testVolumeEvict, false, false},
		{"Snapshots", testVolumeSnapshots, false, true},
		{"SnapshotClones", testVolumeClones, false, true},
		{"SnapshotsLost", testVolumeSnapshotsLost, false, true},
		{"Devices", testDevices, true, false},
		{"SnapshotDevices", testSnapshotDevices, true, true},
		{"SnapshotInstants", testSnapshotInstants, true, true},
		{"Nodes", testNodes, true, false},
		{"NodesReady", testNodesReady, true, false},
		{"NodesFolder", testNodesFolder, true, false},
		{"NodesEpochs", testNodesEpochs, true, false},
		{"NodesRefuse", testNodesRefuse, true, false},
		{"NodesTampered", testNodesTampered, true, false},
		{"NodesAfterCrashes", testNodesAfterCrashes, true, false},
		{"NodesAndSlowStores", testNodesAndSlowStores, true, false},
		{"Idle", testIdle, true, false},
		{"NodesEvict", testNodesEvict, true, false},
		{"NodesGrow", testNodesGrow, true, false},
		{"NodesSnapshots", testNodesSnapshots, true, true},
		{"NodesSnapshotsReverts", testNodesReverts, true, true},
		{"NodesSnapshotsMove", testNodesSnapshotsMove, true, true},
	}
	for _, part := range parts {
		t.Run(part.name, func(t T) {
			s := open(t)
			if part.devices && s.Layer(t, s.Machine(t, 0)) == nil {
				t.Skip("this store's devices have nothing behind them")
			}
			if part.points {
				snapshotting(t, s.Machine(t, 0))
			}
			part.test(t, s)
		})
	}
}
