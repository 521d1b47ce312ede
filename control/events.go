// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// Events sends every change after from; 0 sends only those from now on. Where
// history before from is no longer kept, the stream begins with the present state.
func (s *Service) Events(ctx context.Context, from cluster.Revision, send func(api.Event) error) error {
	for {
		w, err := readWorld(ctx, s.store)
		if err != nil {
			return err
		}
		switch {
		case from == 0:
			from = w.revision
		case from > w.revision:
			if from, err = s.resync(w, send); err != nil {
				return err
			}
		}
		err = s.store.Watch(ctx, from+1, func(b store.Batch) error {
			from = b.Revision
			return s.sendEvents(w, b, send)
		})
		if !errors.Is(err, cluster.ErrGone) {
			return err
		}
		if w, err = readWorld(ctx, s.store); err != nil {
			return err
		}
		if from, err = s.resync(w, send); err != nil {
			return err
		}
	}
}

func (s *Service) resync(w *world, send func(api.Event) error) (cluster.Revision, error) {
	state := s.statusOf(w)
	return w.revision, send(api.Event{
		Revision: w.revision, Kind: api.EventResync, Object: "cluster/" + w.meta.Cluster, Name: "cluster", At: s.now(),
		Text: "the changes before are no longer kept; this is the present state", State: &state,
	})
}

func (s *Service) sendEvents(w *world, b store.Batch, send func(api.Event) error) error {
	for _, c := range b.Changes {
		before := w.nodeNames()
		if c.Revision > w.revision {
			if err := w.apply(c); err != nil {
				return err
			}
		}
		e, ok, err := describe(w, before, c, s.now())
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := send(e); err != nil {
			return err
		}
	}
	w.revision = max(w.revision, b.Revision)
	return nil
}

// describe makes an event of a change; false for changes that concern nobody.
func describe(w *world, names nodeNamer, c store.Change, now time.Time) (api.Event, bool, error) {
	e := api.Event{Revision: c.Revision, Kind: kindOf(c), At: now}
	collection, name, _ := strings.Cut(c.Key, "/")
	var err error
	switch collection + "/" {
	case string(store.Datasets):
		e.Object, e.Name = datasetObject(cluster.DatasetID(name)), name
		err = describeWith(&e, c, store.Datasets, names, datasetText)
	case string(store.Applications):
		e.Object, e.Name = applicationObject(name), name
		err = describeWith(&e, c, store.Applications, names, applicationText)
	case string(store.Moves):
		e.Object, e.Name = moveObject(cluster.MoveID(name)), name
		err = describeWith(&e, c, store.Moves, names, moveText)
	case string(store.Sessions):
		e.Object, e.Name, e.Kind = nodeObject(cluster.NodeID(name)), names(cluster.NodeID(name)), api.EventChanged
		e.Text = sessionText(c)
	case string(store.Nodes):
		e.Object, e.Name = nodeObject(cluster.NodeID(name)), names(cluster.NodeID(name))
		err = describeWith(&e, c, store.Nodes, names, nodeText)
	case string(store.Schedules):
		e.Object, e.Name = scheduleObject(cluster.ScheduleID(name)), name
		err = describeWith(&e, c, store.Schedules, names, scheduleText)
	case "observed/":
		e.Object, e.Name, e.Text, err = observedText(w, c)
	}
	return e, e.Text != "", err
}

func kindOf(c store.Change) api.EventKind {
	switch {
	case c.Deleted():
		return api.EventDeleted
	case c.Created():
		return api.EventCreated
	}
	return api.EventChanged
}

// nodeNamer gives a node's name.
type nodeNamer func(cluster.NodeID) string

func (w *world) nodeNames() nodeNamer {
	return func(id cluster.NodeID) string { return firstOf(w.nodes[id].Name, string(id)) }
}

// describeWith reads the record before and after; was or is may be empty.
func describeWith[V any](e *api.Event, c store.Change, k store.Key[V], names nodeNamer, text func(names nodeNamer, was, is *V) (name, text string)) error {
	var was, is *V
	if v, ok := store.Previous(c, k); ok {
		was = &v
	}
	if !c.Deleted() {
		v, err := store.Value(c, k)
		if err != nil {
			return err
		}
		is = &v
	}
	name, t := text(names, was, is)
	e.Name, e.Text = firstOf(name, e.Name), t
	return nil
}

func datasetText(names nodeNamer, was, is *cluster.Dataset) (string, string) {
	switch {
	case is == nil && was == nil:
		return "", "gone"
	case is == nil:
		return was.Name, "destroyed on every node"
	case was == nil:
		return is.Name, fmt.Sprintf("created on node %s", names(is.Owner))
	case is.Deleted && !was.Deleted:
		return is.Name, "is to be destroyed"
	case is.Adopt != "" && was.Adopt == "":
		return is.Name, fmt.Sprintf("failed over from node %s to node %s, from snapshot %s, epoch %d", names(was.Owner), names(is.Owner), is.Adopt, is.Epoch)
	case is.Owner != was.Owner:
		return is.Name, fmt.Sprintf("owner is node %s, was node %s, epoch %d", names(is.Owner), names(was.Owner), is.Epoch)
	case is.Born && !was.Born:
		return is.Name, fmt.Sprintf("its data is on node %s", names(is.Owner))
	case is.Size != was.Size:
		return is.Name, fmt.Sprintf("size is %d, was %d", is.Size, was.Size)
	}
	return is.Name, snapshotText(was, is)
}

// snapshotText says what has become of a dataset's snapshots.
func snapshotText(was, is *cluster.Dataset) string {
	var news []string
	switch {
	case is.Rollback != nil && was.Rollback == nil:
		to, _ := is.Kept(is.Rollback.To)
		news = append(news, "is to be rolled back to snapshot "+to.Name)
	case is.Rollback == nil && was.Rollback != nil:
		to, _ := was.Kept(was.Rollback.To)
		news = append(news, "is rolled back to snapshot "+to.Name)
	}
	for _, k := range is.Snapshots {
		before, known := was.Kept(k.ID)
		switch {
		case !known:
			news = append(news, fmt.Sprintf("snapshot %s is asked for", k.Name))
		case k.Removed && !before.Removed:
			news = append(news, fmt.Sprintf("snapshot %s is to be removed", k.Name))
		case k.Taken != nil && before.Taken == nil:
			news = append(news, fmt.Sprintf("snapshot %s is taken", k.Name))
		}
	}
	for _, k := range was.Snapshots {
		if _, still := is.Kept(k.ID); !still {
			news = append(news, fmt.Sprintf("snapshot %s is gone", k.Name))
		}
	}
	return strings.Join(news, "; ")
}

func applicationText(names nodeNamer, was, is *cluster.Application) (string, string) {
	switch {
	case is == nil:
		return "", "removed"
	case was == nil:
		return is.Name, fmt.Sprintf("created on node %s, image %s", names(is.Node), is.Image)
	case is.Deleted && !was.Deleted:
		return is.Name, "is to be removed"
	case is.Node != was.Node:
		return is.Name, fmt.Sprintf("belongs to node %s, was node %s", names(is.Node), names(was.Node))
	case is.SpecHash() != was.SpecHash():
		return is.Name, "changed; it gets a new container"
	case is.Move != was.Move:
		return is.Name, ""
	}
	return is.Name, "changed"
}

func moveText(names nodeNamer, was, is *cluster.Move) (string, string) {
	switch {
	case is == nil:
		return "", ""
	case was == nil:
		return "", fmt.Sprintf("%s from node %s to node %s is planned by %s", strings.Join(is.Applications, ", "), names(is.Source), names(is.Target), is.By)
	case is.Phase == was.Phase && is.CancelRequested && !was.CancelRequested:
		return "", fmt.Sprintf("%s: a cancel is requested", is.Phase)
	case is.Phase == was.Phase:
		return "", ""
	case is.Phase == cluster.MoveCleaned && is.Report != nil:
		return "", fmt.Sprintf("%s, gap %s, %d bytes in %d rounds", is.Phase, is.Report.Gap, is.Report.Bytes, is.Report.Rounds)
	case is.Reason != "":
		return "", fmt.Sprintf("%s: %s", is.Phase, is.Reason)
	}
	return "", string(is.Phase)
}

func nodeText(_ nodeNamer, was, is *cluster.Node) (string, string) {
	switch {
	case is == nil && was != nil:
		return was.Name, "forgotten"
	case is == nil:
		return "", "forgotten"
	case was == nil:
		return is.Name, fmt.Sprintf("joined at %s", is.Address)
	case is.Fence != nil && was.Fence == nil:
		return is.Name, "fenced by " + is.Fence.By
	case is.BootID != was.BootID:
		return is.Name, "booted"
	case is.Address != was.Address:
		return is.Name, fmt.Sprintf("address is %s, was %s", is.Address, was.Address)
	}
	return is.Name, ""
}

func sessionText(c store.Change) string {
	switch {
	case c.Deleted():
		return "is no longer alive"
	case c.Created():
		return "is alive"
	}
	return ""
}

// observedText tells of containers that start and stop, and of what is newly pending.
func observedText(w *world, c store.Change) (object, name, text string, err error) {
	node, part, key, _ := store.ObservedKey(c.Key)
	on := " on node " + w.nodeNames()(node)
	switch part {
	case "container":
		was, _ := store.Previous(c, store.Containers(node))
		if c.Deleted() {
			return applicationObject(key), key, "container is gone" + on, nil
		}
		is, err := store.Value(c, store.Containers(node))
		if is.State != was.State {
			text = fmt.Sprintf("container is %s%s", is.State, on)
		}
		return applicationObject(key), key, text, err
	case "status":
		was, _ := store.Previous(c, store.Statuses(node))
		if c.Deleted() {
			return key, w.nameOf(key), "", nil
		}
		is, err := store.Value(c, store.Statuses(node))
		if is.Reason != was.Reason {
			text = is.Reason + on
		}
		return key, w.nameOf(key), text, err
	}
	return "", "", "", nil
}
