// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// Apply returns what the node would observe after the step: the model that dry runs
// and properties are made on. Steps on moves change the store, not the node.
func Apply(desired cluster.Desired, observed cluster.Observed, step Step) cluster.Observed {
	observed.Copies = mapOf(observed.Copies)
	observed.Containers = mapOf(observed.Containers)
	switch s := step.(type) {
	case CreateVolume:
		born(observed, s)
	case CloneVolume:
		born(observed, CreateVolume{Dataset: s.Dataset, Backend: desired.Datasets[s.Dataset].Backend, Size: s.Size, Epoch: s.Epoch})
	case CopyFiles:
		copied(observed, s)
	case Attach:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) { c.Head, c.Device, c.Holder = true, "device", "" })
	case Detach:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) { c.Head, c.Device, c.Holder, c.Epoch = false, "", "", 0 })
	case Evict:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) { c.Holder = "" })
	case MakeHead:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) {
			c.Dataset, c.Head, c.Epoch, c.Size, c.Scratch = s.Dataset, true, s.Epoch, s.Size, s.Scratch
		})
	case Mount:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) {
			c.Mounted, c.Epoch, c.Scratch, c.Divergent = "/flocker/"+string(s.Dataset), s.Epoch, "", false
		})
	case Unmount:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) { c.Mounted = "" })
	case DropHead:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) { c.Head, c.Epoch, c.Scratch, c.Divergent = false, 0, "", false })
		if len(observed.Copies[s.Dataset].Snapshots) == 0 {
			delete(observed.Copies, s.Dataset)
		}
	case DestroyCopy:
		delete(observed.Copies, s.Dataset)
	case Resize:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) { c.Size = s.Size })
	case PruneSnapshot:
		onCopy(observed, s.Dataset, func(c *cluster.Copy) {
			c.Snapshots = slices.DeleteFunc(slices.Clone(c.Snapshots), func(o cluster.Snapshot) bool { return o.Name == s.Snapshot })
		})
	case TakeSnapshot:
		took(observed, s)
	case TakeTogether:
		took(observed, s.Snapshots...)
	case CreateContainer:
		a := desired.Applications[s.Application]
		observed.Containers[s.Application] = cluster.Container{
			Application: a.Name, State: cluster.ContainerCreated, Spec: a.SpecHash(), Datasets: a.DatasetIDs(),
		}
	case StartContainer:
		onContainer(observed, s.Application, func(k *cluster.Container) {
			k.State, k.Ended = cluster.ContainerRunning, false
			if s.Restart {
				k.Restarts++
			}
		})
	case StopContainer:
		onContainer(observed, s.Application, func(k *cluster.Container) { k.State, k.Ended, k.Ready = cluster.ContainerExited, false, false })
	case RemoveContainer:
		delete(observed.Containers, s.Application)
	case OpenGate:
		onContainer(observed, s.Application, func(k *cluster.Container) { k.GateOpen = true })
	case CloseGate:
		onContainer(observed, s.Application, func(k *cluster.Container) { k.GateOpen = false })
	case RunMove, AbortMove, ResumeMove, TakeBackMove, CleanMove, Revert, Wait:
	}
	return observed
}

func took(o cluster.Observed, list ...TakeSnapshot) {
	for _, s := range list {
		onCopy(o, s.Dataset, func(c *cluster.Copy) {
			name := fmt.Sprintf("e%d-s%d", s.Epoch, s.Serial)
			c.Snapshots = append(slices.Clone(c.Snapshots), cluster.Snapshot{Name: name, ID: name, Epoch: s.Epoch, Serial: s.Serial})
		})
	}
}

func born(o cluster.Observed, s CreateVolume) {
	back := o.Back(s.Backend)
	c := cluster.Copy{Dataset: s.Dataset, Backend: back.Backend, Head: true, Epoch: s.Epoch, Size: s.Size}
	if back.Capabilities.Attaches {
		c.Volume, c.Device = string(s.Dataset), "device"
	}
	o.Copies[s.Dataset] = c
}

func copied(o cluster.Observed, s CopyFiles) {
	born(o, CreateVolume{Dataset: s.Dataset, Backend: s.Backend, Size: s.Size, Epoch: s.Epoch})
	onCopy(o, s.Dataset, func(c *cluster.Copy) { c.Mounted = "/flocker/" + string(s.Dataset) })
}

func mapOf[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

func onCopy(o cluster.Observed, id cluster.DatasetID, change func(*cluster.Copy)) {
	c := o.Copies[id]
	change(&c)
	o.Copies[id] = c
}

func onContainer(o cluster.Observed, name string, change func(*cluster.Container)) {
	k := o.Containers[name]
	change(&k)
	o.Containers[name] = k
}
