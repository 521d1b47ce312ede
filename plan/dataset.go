// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/flocker-project/flocker/cluster"
)

// dataset returns the next step for a dataset on this node, nil where nothing is to be done.
func (v view) dataset(id cluster.DatasetID) Step {
	d, known := v.desired.Datasets[id]
	c, here := v.seen.Copies[id]
	if !here && (!known || d.Owner != v.me || d.Deleted) {
		if reason := v.maybeHere(id); reason != "" {
			return Wait{About: DatasetObject(id), Reason: reason}
		}
		return nil
	}
	if problem := v.strange(id, d, known); problem != "" {
		return Wait{About: DatasetObject(id), Reason: problem}
	}
	s, reason := v.stand(d.Move)
	switch {
	case s == held:
		return Wait{About: DatasetObject(id), Reason: reason}
	case s == disarmed && c.Mounted != "":
		return v.unmount(c)
	case s == disarmed && c.Device != "":
		return Detach{Dataset: id}
	case s == disarmed:
		return Wait{About: DatasetObject(id), Reason: reason}
	case v.attaches(id) && d.Owner != v.me:
		return v.putDown(d, c)
	case d.Deleted:
		return v.destroy(d, c)
	case d.Owner != v.me:
		return v.disown(d, c)
	case v.attaches(id):
		return v.take(d, c)
	}
	return v.own(d, c)
}

// strange says why this version leaves a dataset alone.
func (v view) strange(id cluster.DatasetID, d cluster.Dataset, known bool) string {
	switch {
	case !known:
		return "a copy is here of a dataset that is not in the desired state; it is kept"
	case d.ID != id || d.Owner == "" || d.Epoch == 0 || d.ByFiles() && d.Epoch <= cluster.HalfEpoch:
		return "its record is incomplete"
	case !v.listed(id, d.Move):
		return fmt.Sprintf("its move %s does not list it", d.Move)
	case v.misplaced(d.Move, d.Owner):
		return fmt.Sprintf("its owner is %s, and its move %s says otherwise", v.name(d.Owner), d.Move)
	case v.unknown(id) != "":
		return v.unknown(id)
	case v.storage(id).Error != "":
		return "storage cannot be used: " + v.storage(id).Error
	case v.twin(id) != "":
		return fmt.Sprintf("%s has the same name in the store, %s: give each node its own, or remove the one that is no more", v.name(v.twin(id)), v.storage(id).Machine)
	case v.seen.Copies[id].Backend != "" && v.seen.Copies[id].Backend != v.storage(id).Backend:
		return fmt.Sprintf("it belongs to back end %s, and a copy of it is in back end %s", v.storage(id).Backend, v.seen.Copies[id].Backend)
	}
	return ""
}

// own brings the owner's copy to where it can be used. Only a dataset that was
// never born is made; a born one whose head is missing is somebody's data.
func (v view) own(d cluster.Dataset, c cluster.Copy) Step {
	switch {
	case !c.Head:
		return v.bear(d, c)
	case d.Half(c):
		return v.copyFiles(d)
	case d.Adopt != "" && c.Epoch != d.Epoch:
		return Wait{About: DatasetObject(d.ID), Reason: fmt.Sprintf("a head of epoch %d stands where snapshot %s was to take its place", c.Epoch, d.Adopt)}
	case stale(d, c) != "":
		return Wait{About: DatasetObject(d.ID), Reason: stale(d, c)}
	case c.Epoch != d.Epoch || c.Scratch != "":
		return Mount{Dataset: d.ID, Epoch: d.Epoch}
	case d.Rollback != nil:
		return v.rollBack(d, c)
	case c.Mounted == "":
		return Mount{Dataset: d.ID, Epoch: d.Epoch}
	case v.storage(d.ID).Capabilities.Resizes && !fits(c.Size, d.Size):
		return Resize{Dataset: d.ID, Size: d.Size}
	}
	if s := v.snapshotAsked(d, c); s != nil {
		return s
	}
	return v.prune(d, c)
}

// sizeUnit is what storage may round a size up to; less than that is no reason to resize.
const sizeUnit = 1 << 20

// fits says whether the limit in force is the one asked for. No limit is 0.
func fits(have, want int64) bool {
	if want == 0 || have == 0 {
		return have == want
	}
	return have >= want && have-want < sizeUnit
}

// bear makes a head where there is none.
func (v view) bear(d cluster.Dataset, c cluster.Copy) Step {
	wait := func(format string, args ...any) Step {
		return Wait{About: DatasetObject(d.ID), Reason: fmt.Sprintf(format, args...)}
	}
	if d.Adopt != "" {
		for _, s := range c.Snapshots {
			if s.Name == d.Adopt && s.Epoch < d.Epoch && d.Move == "" {
				return MakeHead{Dataset: d.ID, Snapshot: s.Name, Size: d.Size, Epoch: d.Epoch}
			}
		}
		return wait("snapshot %s, which was to take its place, is not on %s", d.Adopt, v.name(v.me))
	}
	elsewhere := v.keeper(d.ID)
	switch {
	case d.Born && elsewhere != "":
		return wait("its copy is missing on its owner %s; %s has a replica", v.name(v.me), v.name(elsewhere))
	case d.Born:
		return wait("its copy is missing on its owner %s; it is not made anew", v.name(v.me))
	case len(c.Snapshots) > 0:
		return wait("snapshots of it are here without a head; it is not made anew")
	case elsewhere != "":
		return wait("%s has a copy of it; it is not made anew", v.name(elsewhere))
	case d.ByFiles():
		return v.copyFiles(d)
	case d.Origin != nil:
		return v.cloneVolume(d)
	}
	return CreateVolume{Dataset: d.ID, Backend: d.Backend, Size: d.Size, Profile: d.Profile, Root: d.Root, Epoch: d.Epoch}
}

// keeper names another node that has a copy of the dataset, the first in order.
func (v view) keeper(id cluster.DatasetID) cluster.NodeID {
	for _, n := range sorted(v.desired.Elsewhere) {
		if _, has := v.desired.Elsewhere[n].Copies[id]; has && n != v.me {
			return n
		}
	}
	return ""
}

// stale says why the owner's head is not the one that the store speaks of. A head
// with a smaller epoch is right only after a take-back, when no later snapshot has come
// here; a scratch head is right only at its own epoch, which one owner has once.
func stale(d cluster.Dataset, c cluster.Copy) string {
	switch {
	case c.Epoch > d.Epoch:
		return fmt.Sprintf("its data carries epoch %d, newer than the store's %d: the store may have been restored from a backup", c.Epoch, d.Epoch)
	case c.Scratch != "" && c.Epoch != d.Epoch:
		return fmt.Sprintf("its head was made for move %s, which was taken back", c.Scratch)
	}
	if c.Volume != "" {
		return "" // its one copy is the head, whatever epoch it carries after a rollback
	}
	for _, s := range c.Snapshots {
		if s.Epoch > c.Epoch {
			return fmt.Sprintf("its head carries epoch %d, older than its snapshot %s", c.Epoch, s.Name)
		}
	}
	return ""
}

// disown removes what only an owner has. The data stays, as snapshots; a head with writes that are in no snapshot stays too.
func (v view) disown(d cluster.Dataset, c cluster.Copy) Step {
	if !c.Head {
		return v.prune(d, c)
	}
	keep := v.keep(c)
	switch {
	case c.Epoch > d.Epoch || c.Scratch != "" && c.Scratch == d.Move:
		return Wait{About: DatasetObject(d.ID), Reason: "its data is newer than the desired state that was read"}
	case c.Mounted != "":
		return v.unmount(c)
	case keep != "":
		return Wait{About: DatasetObject(d.ID), Reason: keep}
	}
	return DropHead{Dataset: d.ID, Reason: fmt.Sprintf("%s owns it", v.name(d.Owner))}
}

// keep says why the head of a copy that is not the owner's stays. What a scratch head of a move that
// never committed holds was answered to no client.
func (v view) keep(c cluster.Copy) string {
	if c.Scratch != "" {
		switch v.desired.Moves[c.Scratch].Phase {
		case cluster.MoveAborted, cluster.MoveTakenBack:
			return ""
		case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting,
			cluster.MoveHandedOver, cluster.MoveCommitted, cluster.MoveCleaned:
		}
	}
	switch {
	case c.Divergent:
		return "divergent: it has writes that are in no snapshot; it is kept until it is removed by name"
	case len(c.Snapshots) == 0:
		return "its head is all there is of it here, with no snapshot; it is kept"
	}
	return ""
}

// unmount unmounts once nothing here uses the data.
func (v view) unmount(c cluster.Copy) Step {
	if user := v.user(c.Dataset); user != "" {
		return Wait{About: DatasetObject(c.Dataset), Reason: fmt.Sprintf("%s uses it on %s", user, v.name(v.me))}
	}
	return Unmount{Dataset: c.Dataset}
}

// destroy removes the copy of a dataset whose destruction was asked for by name.
func (v view) destroy(d cluster.Dataset, c cluster.Copy) Step {
	lease, leased := v.desired.Leases[d.ID]
	switch {
	case leased:
		return Wait{About: DatasetObject(d.ID), Reason: fmt.Sprintf("it is to be destroyed and is leased on %s", v.name(lease.Node))}
	case v.user(d.ID) != "":
		return Wait{About: DatasetObject(d.ID), Reason: fmt.Sprintf("it is to be destroyed and %s uses it", v.user(d.ID))}
	case c.Mounted != "":
		return Unmount{Dataset: d.ID}
	}
	return DestroyCopy{Dataset: d.ID}
}

// user names what has the dataset's data open here: a container of ours that runs, or a foreign one.
func (v view) user(id cluster.DatasetID) string {
	for _, name := range sorted(v.seen.Containers) {
		if k := v.seen.Containers[name]; live(k) && uses(k, id) {
			return "application " + name
		}
	}
	if f := v.seen.Foreign[id]; f != "" {
		return "container " + f
	}
	return ""
}
