// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// spareSpace is what a target needs beside the data: deltas, and what the filesystem keeps for itself.
const spareSpace = 64 << 20

// checks collects preflight results of one node.
type checks struct {
	node string
	all  []api.Check
}

func (c *checks) add(name, object, problem, remedy string) {
	check := api.Check{Name: name, Object: object, OK: problem == "", Problem: problem, Node: c.node}
	if problem != "" {
		check.Remedy = remedy
	}
	c.all = append(c.all, check)
}

func nodeName(d cluster.Desired, id cluster.NodeID) string {
	if name := d.Nodes[id].Name; name != "" {
		return name
	}
	return string(id)
}

// admit says whether this node can be the target of a move.
func (n *Node) admit(ctx context.Context, req api.PrepareRequest, held backend.Contents, unlisted error) ([]api.Check, error) {
	desired, seen := n.View()
	c := &checks{node: nodeName(desired, n.ID)}
	c.mode(req.Move)
	if p := desired.Nodes[req.Move.Source].Protocol; p > cluster.ProtocolVersion {
		c.add("protocol", "node "+c.node, fmt.Sprintf("speaks version %d, the source %d", cluster.ProtocolVersion, p), "upgrade flocker on "+c.node)
	}
	for _, end := range endsOf(req.Datasets) {
		storage := held.Back(end)
		if storage.Capabilities.Attaches && unlisted != nil {
			storage.Error = unlisted.Error()
		}
		c.storage(storage, desired.Elsewhere[req.Move.Source].Back(end))
		if storage.Error == "" && storage.Capabilities.Replicates {
			c.room(req, end, storage, held.Copies)
		}
	}
	for _, d := range req.Datasets {
		if storage := held.Back(d.Backend); storage.Capabilities.Attaches && storage.Error == "" && unlisted == nil {
			c.volume(d, held.Copies[d.ID], storage)
		}
		c.profile(d, held.Back(d.Backend), desired.Elsewhere[req.Move.Source].Back(d.Backend))
		c.dataset(d, held.Copies[d.ID], seen.Foreign[d.ID], req.Move.ID)
	}
	found, err := n.Engine.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at containers: %w", err)
	}
	inUse, err := n.PortsInUse(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at ports: %w", err)
	}
	for _, app := range req.Applications {
		c.name(app.Name, found)
		c.ports(app, inUse)
	}
	return c.all, nil
}

func (c *checks) mode(m cluster.Move) {
	problem := ""
	switch m.Mode {
	case cluster.ModeRestart, cluster.ModeAuto:
	case cluster.ModeLive:
		problem = "live moves are not supported by this version"
	default:
		problem = fmt.Sprintf("mode %q is not known", m.Mode)
	}
	c.add("mode", "move to "+c.node, problem, "use mode restart")
}

// endsOf are the names of the back ends that datasets belong to, in order.
func endsOf(sets []cluster.Dataset) []string {
	ends := []string{}
	for _, d := range sets {
		ends = append(ends, d.Backend)
	}
	slices.Sort(ends)
	return slices.Compact(ends)
}

// storage looks whether what is moved, from a back end of the source, can be used here at all.
func (c *checks) storage(storage, source cluster.Storage) {
	problem, remedy := "", ""
	switch {
	case storage.Error == "" && source.Error == "" && source.Backend != "" && storage.Driver() != source.Driver():
		problem = fmt.Sprintf("its back end %s is of kind %s, the source's of kind %s", storage.Backend, storage.Driver(), source.Driver())
		remedy = "choose a node with the same kind of storage"
	case storage.Error != "":
		problem, remedy = storage.Error, "repair the storage of the node"
	case !storage.Capabilities.Replicates && !storage.Capabilities.Attaches:
		problem, remedy = fmt.Sprintf("back end %q can neither receive copies nor attach volumes", storage.Backend), "choose another node"
	}
	c.add("storage", "storage of "+c.node, problem, remedy)
}

func (c *checks) room(req api.PrepareRequest, end string, storage cluster.Storage, copies map[cluster.DatasetID]cluster.Copy) {
	object := "storage of " + c.node
	need := int64(spareSpace)
	for _, d := range req.Datasets {
		if d.Backend == end && len(copies[d.ID].Snapshots) == 0 {
			need += req.Bytes[d.ID] + req.Bytes[d.ID]/10
		}
	}
	problem := ""
	if storage.Free < need {
		problem = fmt.Sprintf("%d MiB are free, %d MiB are needed", storage.Free>>20, need>>20)
	}
	c.add("space", object, problem, "free space on the node or enlarge its pool")
}

// profile looks whether what is written here from now on is kept as on the source. A volume is as it was made wherever it is, and of a
// profile that the source itself has no more nothing can be asked.
func (c *checks) profile(d cluster.Dataset, storage, source cluster.Storage) {
	if d.Profile == "" || storage.Error != "" || !storage.Capabilities.Replicates || !source.HasProfile(d.Profile) {
		return
	}
	problem := ""
	if !storage.HasProfile(d.Profile) {
		problem = fmt.Sprintf("back end %s of %s has no profile %q: %s", storage.Backend, c.node, d.Profile, cluster.ProfilesAre(storage.Profiles))
	}
	c.add("profile", "dataset "+string(d.ID), problem, "name it in the agent.yml of "+c.node+" and restart its agent, or choose another node")
}

// volume looks whether this node's store is the one that the volume is in.
func (c *checks) volume(d cluster.Dataset, there cluster.Copy, storage cluster.Storage) {
	problem := ""
	if there.Volume == "" {
		problem = fmt.Sprintf("its volume is not in the store that %s has as %s", c.node, storage.Backend)
	}
	c.add("volume", "dataset "+string(d.ID), problem, "see that both nodes have the same store, and that "+c.node+" reaches it")
}

func (c *checks) dataset(d cluster.Dataset, there cluster.Copy, foreign string, move cluster.MoveID) {
	object := "dataset " + string(d.ID)
	problem, remedy := "", ""
	switch {
	case foreign != "":
		problem, remedy = "container "+foreign+", which is not Flocker's, uses it on "+c.node, "stop that container"
	case there.Divergent:
		problem, remedy = "a copy with writes of its own is on "+c.node, "remove that copy by name when it is no longer needed"
	case there.Head && there.Scratch != move:
		problem, remedy = "a writable copy is still on "+c.node, "wait until it is removed"
	case there.Epoch > d.Epoch:
		problem, remedy = fmt.Sprintf("the copy on %s has epoch %d, the store %d", c.node, there.Epoch, d.Epoch), "see flocker status"
	}
	c.add("dataset", object, problem, remedy)
}

func (c *checks) name(app string, found []container.Found) {
	problem, remedy := "", ""
	for _, f := range found {
		switch {
		case !f.Ours && (f.Name == container.NamePrefix+app || f.Name == container.HolderPrefix+app):
			problem, remedy = "a container of that name, which is not Flocker's, is on "+c.node, "rename or remove that container"
		case f.Ours && f.Application == app && (f.State == cluster.ContainerRunning || f.State == cluster.ContainerPaused):
			problem, remedy = "it runs on "+c.node+" already", "wait until it is stopped"
		}
	}
	c.add("name", "application "+app, problem, remedy)
}

// ports looks at what is published on this node: who listens there would not be reached any more.
func (c *checks) ports(app cluster.Application, inUse map[string]string) {
	for _, p := range app.Ports {
		published := p.Published()
		if published == "" {
			continue
		}
		problem := ""
		if who, taken := inUse[published]; taken {
			problem = fmt.Sprintf("%s listens on it on %s", who, c.node)
		}
		c.add("port", published+" of application "+app.Name, problem, "stop that, or choose another external port")
	}
}

// checkSource says whether this node can be the source of a move.
func (n *Node) checkSource(m cluster.Move, desired cluster.Desired, seen cluster.Observed) []api.Check {
	c := &checks{node: nodeName(desired, n.ID)}
	c.mode(m)
	target := desired.Nodes[m.Target]
	switch {
	case target.ID == "":
		c.add("node", "node "+string(m.Target), "is not in the cluster", "see flocker node ls")
	case !target.Alive():
		c.add("node", "node "+nodeName(desired, m.Target), "is not alive", "start its agent")
	case target.Protocol > cluster.ProtocolVersion:
		c.add("protocol", "node "+nodeName(desired, m.Target), "speaks a newer protocol than "+c.node, "upgrade flocker on "+c.node)
	}
	var sets []cluster.Dataset
	for _, id := range m.Datasets {
		sets = append(sets, desired.Datasets[id])
	}
	for _, end := range endsOf(sets) {
		storage := seen.Back(end)
		if storage.Error != "" {
			c.add("storage", "storage of "+c.node, storage.Error, "repair the storage of the node")
		} else if can := storage.Capabilities; !can.Attaches && (!can.Replicates || !can.Snapshots) {
			c.add("storage", "storage of "+c.node, fmt.Sprintf("back end %q can neither send copies nor attach volumes", storage.Backend), "use another back end")
		}
	}
	for _, id := range m.Datasets {
		c.owned(id, desired, seen)
	}
	for _, name := range m.Applications {
		c.application(name, m, desired)
	}
	return c.all
}

func (c *checks) owned(id cluster.DatasetID, desired cluster.Desired, seen cluster.Observed) {
	d, known := desired.Datasets[id]
	here := seen.Copies[id]
	problem := ""
	switch {
	case !known:
		problem = "is not in the cluster"
	case d.Owner != seen.Node:
		problem = "is owned by " + nodeName(desired, d.Owner) + ", not by " + c.node
	case !here.Head:
		problem = "has no writable copy on " + c.node
	case seen.Foreign[id] != "":
		problem = "is used by container " + seen.Foreign[id] + " on " + c.node + ", which is not Flocker's"
	}
	c.add("dataset", "dataset "+string(id), problem, "see flocker status")
}

func (c *checks) application(name string, m cluster.Move, desired cluster.Desired) {
	app, known := desired.Applications[name]
	problem, remedy := "", "see flocker status"
	switch {
	case !known:
		problem = "is not in the cluster"
	case slices.ContainsFunc(app.DatasetIDs(), func(id cluster.DatasetID) bool { return !slices.Contains(m.Datasets, id) }):
		problem = "uses a dataset that the move leaves behind"
	default:
		if _, ok := presetNamed(app.Hooks.Preset); !ok {
			problem, remedy = fmt.Sprintf("has the unknown preset %q", app.Hooks.Preset), "use postgres, mysql or redis, or a quiesce command"
		}
	}
	c.add("application", "application "+name, problem, remedy)
}
