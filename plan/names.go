// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/flocker-project/flocker/cluster"

// DatasetObject names a dataset in Status.
func DatasetObject(id cluster.DatasetID) string { return "dataset/" + string(id) }

// ApplicationObject names an application in Status.
func ApplicationObject(name string) string { return "application/" + name }

// MoveObject names a move in Status.
func MoveObject(id cluster.MoveID) string { return "move/" + string(id) }

func (s CreateVolume) Object() string    { return DatasetObject(s.Dataset) }
func (s CloneVolume) Object() string     { return DatasetObject(s.Dataset) }
func (s CopyFiles) Object() string       { return DatasetObject(s.Dataset) }
func (s MakeHead) Object() string        { return DatasetObject(s.Dataset) }
func (s Attach) Object() string          { return DatasetObject(s.Dataset) }
func (s Detach) Object() string          { return DatasetObject(s.Dataset) }
func (s Evict) Object() string           { return DatasetObject(s.Dataset) }
func (s Mount) Object() string           { return DatasetObject(s.Dataset) }
func (s Unmount) Object() string         { return DatasetObject(s.Dataset) }
func (s DropHead) Object() string        { return DatasetObject(s.Dataset) }
func (s DestroyCopy) Object() string     { return DatasetObject(s.Dataset) }
func (s Resize) Object() string          { return DatasetObject(s.Dataset) }
func (s PruneSnapshot) Object() string   { return DatasetObject(s.Dataset) }
func (s TakeSnapshot) Object() string    { return DatasetObject(s.Dataset) }
func (s Revert) Object() string          { return DatasetObject(s.Dataset) }
func (s TakeTogether) Object() string    { return ApplicationObject(s.Application) }
func (s CreateContainer) Object() string { return ApplicationObject(s.Application) }
func (s StartContainer) Object() string  { return ApplicationObject(s.Application) }
func (s StopContainer) Object() string   { return ApplicationObject(s.Application) }
func (s RemoveContainer) Object() string { return ApplicationObject(s.Application) }
func (s OpenGate) Object() string        { return ApplicationObject(s.Application) }
func (s CloseGate) Object() string       { return ApplicationObject(s.Application) }
func (s RunMove) Object() string         { return MoveObject(s.Move) }
func (s AbortMove) Object() string       { return MoveObject(s.Move) }
func (s ResumeMove) Object() string      { return MoveObject(s.Move) }
func (s TakeBackMove) Object() string    { return MoveObject(s.Move) }
func (s CleanMove) Object() string       { return MoveObject(s.Move) }
func (s Wait) Object() string            { return s.About }

func (CreateVolume) Kind() string    { return "create-volume" }
func (CloneVolume) Kind() string     { return "clone-volume" }
func (CopyFiles) Kind() string       { return "copy-files" }
func (MakeHead) Kind() string        { return "make-head" }
func (Attach) Kind() string          { return "attach" }
func (Detach) Kind() string          { return "detach" }
func (Evict) Kind() string           { return "evict" }
func (Mount) Kind() string           { return "mount" }
func (Unmount) Kind() string         { return "unmount" }
func (DropHead) Kind() string        { return "drop-head" }
func (DestroyCopy) Kind() string     { return "destroy-copy" }
func (Resize) Kind() string          { return "resize" }
func (PruneSnapshot) Kind() string   { return "prune-snapshot" }
func (TakeSnapshot) Kind() string    { return "take-snapshot" }
func (Revert) Kind() string          { return "revert" }
func (TakeTogether) Kind() string    { return "take-snapshots-together" }
func (CreateContainer) Kind() string { return "create-container" }
func (StartContainer) Kind() string  { return "start-container" }
func (StopContainer) Kind() string   { return "stop-container" }
func (RemoveContainer) Kind() string { return "remove-container" }
func (OpenGate) Kind() string        { return "open-gate" }
func (CloseGate) Kind() string       { return "close-gate" }
func (RunMove) Kind() string         { return "run-move" }
func (AbortMove) Kind() string       { return "abort-move" }
func (ResumeMove) Kind() string      { return "resume-move" }
func (TakeBackMove) Kind() string    { return "take-back-move" }
func (CleanMove) Kind() string       { return "clean-move" }
func (Wait) Kind() string            { return "wait" }

func (CreateVolume) step()    {}
func (CloneVolume) step()     {}
func (CopyFiles) step()       {}
func (MakeHead) step()        {}
func (Attach) step()          {}
func (Detach) step()          {}
func (Evict) step()           {}
func (Mount) step()           {}
func (Unmount) step()         {}
func (DropHead) step()        {}
func (DestroyCopy) step()     {}
func (Resize) step()          {}
func (PruneSnapshot) step()   {}
func (TakeSnapshot) step()    {}
func (Revert) step()          {}
func (TakeTogether) step()    {}
func (CreateContainer) step() {}
func (StartContainer) step()  {}
func (StopContainer) step()   {}
func (RemoveContainer) step() {}
func (OpenGate) step()        {}
func (CloseGate) step()       {}
func (RunMove) step()         {}
func (AbortMove) step()       {}
func (ResumeMove) step()      {}
func (TakeBackMove) step()    {}
func (CleanMove) step()       {}
func (Wait) step()            {}
