// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// unknown says why it is not known what is here of a dataset: a back end that it belongs to, or in which this node last told of a
// copy of it, cannot be looked at. What is in there is neither gone nor as it was, and what another back end has of it is not trusted.
func (v view) unknown(id cluster.DatasetID) string {
	if d, known := v.desired.Datasets[id]; known {
		if why := v.seen.Unknown(d.Backend); why != "" {
			return fmt.Sprintf("back end %s cannot be looked at: %s", v.storage(id).Backend, why)
		}
	}
	if told, was := v.desired.Elsewhere[v.me].Copies[id]; was && v.seen.Withholds(told) {
		return fmt.Sprintf("a copy of it was in back end %s, which cannot be looked at: %s", told.Backend, v.seen.Unknown(told.Backend))
	}
	return ""
}

// maybeHere says why a dataset that was not seen here may be here nevertheless.
func (v view) maybeHere(id cluster.DatasetID) string {
	_, told := v.desired.Elsewhere[v.me].Copies[id]
	if d, known := v.desired.Datasets[id]; known && (told || d.Owner == v.me) {
		return v.unknown(id)
	}
	return ""
}

// unknownOf is unknown of the datasets of an application, and of those that its container here was made with.
func (v view) unknownOf(a cluster.Application, k cluster.Container) string {
	return v.unknownAmong(slices.Concat(a.DatasetIDs(), k.Datasets))
}

func (v view) unknownAmong(ids []cluster.DatasetID) string {
	for _, id := range ids {
		if why := v.unknown(id); why != "" {
			return fmt.Sprintf("dataset %s: %s", id, why)
		}
	}
	return ""
}

// inTheDark says whether a step needs to be sure of what is in a back end that cannot be looked at. To stop what runs, and to give
// a move up, does not: neither changes data or lets anybody write.
func (v view) inTheDark(step Step) bool {
	switch step.(type) {
	case CreateContainer, RemoveContainer, StopContainer, CloseGate, AbortMove, TakeBackMove, Wait:
		return false
	case CreateVolume, CloneVolume, CopyFiles, MakeHead, Attach, Detach, Evict, Mount, Unmount, DropHead, DestroyCopy, Resize, PruneSnapshot, TakeSnapshot,
		TakeTogether, Revert, StartContainer, OpenGate, RunMove, ResumeMove, CleanMove:
	}
	var ids []cluster.DatasetID
	if clone, is := step.(CloneVolume); is {
		ids = append(ids, clone.From)
	}
	if copies, is := step.(CopyFiles); is {
		ids = append(ids, copies.From)
	}
	switch kind, name, _ := strings.Cut(step.Object(), "/"); kind {
	case "dataset":
		ids = append(ids, cluster.DatasetID(name))
	case "application":
		ids = v.desired.Applications[name].DatasetIDs()
	case "move":
		ids = v.desired.Moves[cluster.MoveID(name)].Datasets
	}
	return v.unknownAmong(ids) != ""
}
