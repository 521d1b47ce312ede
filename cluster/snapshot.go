// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"time"
)

// SnapshotID is the UUID of a snapshot that a user asked for.
type SnapshotID string

// KeptSnapshot is a point of a dataset's history that somebody asked to keep. It is part of the dataset's record; the
// owner's agent takes it, and no node prunes what it names.
type KeptSnapshot struct {
	ID   SnapshotID `json:"id"`
	Name string     `json:"name"` // unique in its dataset among those that are not being removed
	By   string     `json:"by,omitempty"`
	// Asked is when it was asked for; Taken.Created is when it was taken.
	Asked time.Time `json:"asked,omitzero"`
	// Quiesce has the applications' hooks run before it is taken.
	Quiesce bool `json:"quiesce,omitempty"`
	// Application names the application of which all datasets are snapshotted at one instant; Group is the same on all of them.
	Application string `json:"application,omitempty"`
	Group       string `json:"group,omitempty"`
	// Scheduled says which schedule asked for it; nil where a user did.
	Scheduled *Scheduled `json:"scheduled,omitempty"`
	// Taken is what storage calls it, with its lineage; nil until it is taken.
	Taken *Snapshot `json:"taken,omitempty"`
	// Removed says that it is kept no longer. It is forgotten when storage has let it go.
	Removed bool `json:"removed,omitempty"`
}

// Rollback is a return to a snapshot that is not done yet. It changes neither owner nor epoch, since the same node goes on writing.
type Rollback struct {
	To SnapshotID `json:"to"`
	// Kept is the snapshot that holds what the dataset is now; it is taken first.
	Kept  SnapshotID `json:"kept"`
	By    string     `json:"by,omitempty"`
	Asked time.Time  `json:"asked,omitzero"`
}

// Origin is what a clone was made from. Once it is born it depends on it no more.
type Origin struct {
	Dataset  DatasetID  `json:"dataset"`
	Snapshot SnapshotID `json:"snapshot"`
	// Temporary says that the snapshot was taken for the clone alone, and goes when that is born.
	Temporary bool `json:"temporary,omitempty"`
	// Via is the clone of the snapshot, in the snapshot's own back end, of which the files are copied; empty where storage clones.
	Via DatasetID `json:"via,omitempty"`
}

// HalfEpoch is what the data of a copy carries while its files are not all there. Its record begins with the epoch after it, which is
// written on the data when it is whole, in one step.
const HalfEpoch Epoch = 1

// ByFiles says whether the dataset's first copy is made file by file, from another back end.
func (d Dataset) ByFiles() bool { return d.Origin != nil && d.Origin.Via != "" }

// Half says whether a copy of the dataset is not known to have all its files. An epoch that was not read yet is no proof.
func (d Dataset) Half(c Copy) bool { return d.ByFiles() && !d.Born && c.Epoch <= HalfEpoch }

// Kept finds a snapshot of the dataset by id, also one that is being removed.
func (d Dataset) Kept(id SnapshotID) (KeptSnapshot, bool) {
	i := slices.IndexFunc(d.Snapshots, func(s KeptSnapshot) bool { return s.ID == id })
	if i < 0 {
		return KeptSnapshot{}, false
	}
	return d.Snapshots[i], true
}

// Keeps says whether the dataset's record names a snapshot of storage as one that is to stay.
func (d Dataset) Keeps(s Snapshot) bool {
	return slices.ContainsFunc(d.Snapshots, func(k KeptSnapshot) bool {
		return !k.Removed && k.Taken != nil && k.Taken.Name == s.Name && k.Taken.ID == s.ID
	})
}

// WithSnapshot returns the dataset with a snapshot put in the place of the one with its id, or at the end; the records
// of the one that it is called on stay as they are.
func (d Dataset) WithSnapshot(s KeptSnapshot) Dataset {
	d.Snapshots = slices.Clone(d.Snapshots)
	i := slices.IndexFunc(d.Snapshots, func(o KeptSnapshot) bool { return o.ID == s.ID })
	if i < 0 {
		d.Snapshots = append(d.Snapshots, s)
	} else {
		d.Snapshots[i] = s
	}
	return d
}

// WithoutSnapshots returns the dataset without those of its snapshots of which gone is true.
func (d Dataset) WithoutSnapshots(gone func(KeptSnapshot) bool) Dataset {
	d.Snapshots = slices.DeleteFunc(slices.Clone(d.Snapshots), gone)
	return d
}

// Held is a snapshot in storage, of this very content.
func (c Copy) Held(s Snapshot) bool {
	return slices.ContainsFunc(c.Snapshots, func(o Snapshot) bool { return o.Name == s.Name && o.ID == s.ID })
}
