// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// application returns the next step for an application on this node, nil where nothing is to be done.
func (v view) application(name string) Step {
	a, known := v.desired.Applications[name]
	k, here := v.seen.Containers[name]
	if !here && (!known || a.Node != v.me || a.Deleted) {
		return nil
	}
	wait := func(reason string) Step { return Wait{About: ApplicationObject(name), Reason: reason} }
	switch {
	case !known:
		return wait("a container is here of an application that is not in the desired state; it is left alone")
	case a.Name != name || a.Node == "":
		return wait("its record is incomplete")
	case a.Move != "" && !slices.Contains(v.desired.Moves[a.Move].Applications, name):
		return wait(fmt.Sprintf("its move %s does not list it", a.Move))
	case v.unknownOf(a, k) != "":
		return wait(v.unknownOf(a, k)) // also what should stop goes on: whether it is by right here its data would say
	case v.misplaced(a.Move, a.Node):
		return wait(fmt.Sprintf("it is placed on %s, and its move %s says otherwise", v.name(a.Node), a.Move))
	}
	s, reason := v.stand(a.Move)
	switch {
	case s == held:
		return wait(reason)
	case s == disarmed && here, s == prepared && here:
		return v.silence(a, k, reason)
	case s == disarmed, s == prepared:
		return wait(reason)
	case a.Deleted:
		return remove(k, name, "the application was deleted")
	case a.Node != v.me:
		return v.leave(a, k)
	}
	return v.run(a, k, here)
}

// silence keeps a container that may neither run nor be heard. One whose data is
// newer than the desired state was started by a move's function after what was read.
func (v view) silence(a cluster.Application, k cluster.Container, reason string) Step {
	if v.outdated(a) {
		return Wait{About: ApplicationObject(a.Name), Reason: "its data is newer than the desired state that was read"}
	}
	return quiet(k, a.Name, reason)
}

// leave removes the container of an application that belongs on another node.
func (v view) leave(a cluster.Application, k cluster.Container) Step {
	if v.outdated(a) {
		return Wait{About: ApplicationObject(a.Name), Reason: "its data is newer than the desired state that was read"}
	}
	return remove(k, a.Name, "the application runs on "+v.name(a.Node))
}

// outdated says whether this node's data proves that the store has gone on since the desired state was read.
func (v view) outdated(a cluster.Application) bool {
	return slices.ContainsFunc(a.DatasetIDs(), func(id cluster.DatasetID) bool {
		c := v.seen.Copies[id]
		d, ok := v.desired.Datasets[id]
		return ok && c.Head && (c.Epoch > d.Epoch || c.Scratch != "" && c.Scratch == a.Move)
	})
}

// run brings an application that belongs here to where it serves.
func (v view) run(a cluster.Application, k cluster.Container, here bool) Step {
	wait := func(reason string) Step { return Wait{About: ApplicationObject(a.Name), Reason: reason} }
	foreign, unusable := v.foreign(a), v.unready(a)
	switch {
	case foreign != "" && here && live(k):
		return quiet(k, a.Name, foreign)
	case foreign != "":
		return wait(foreign)
	case !here && v.homeless(a) != "":
		return wait(v.homeless(a))
	case v.rollingBack(a) != "" && here && live(k):
		return quiet(k, a.Name, v.rollingBack(a))
	case v.rollingBack(a) != "":
		return wait(v.rollingBack(a))
	case v.together(a) != nil:
		return v.together(a)
	case !here:
		return CreateContainer{Application: a.Name}
	case k.Spec != a.SpecHash():
		return remove(k, a.Name, "its description has changed")
	}
	switch k.State {
	case cluster.ContainerCreated:
		return v.start(a, unusable, false)
	case cluster.ContainerExited:
		return v.restart(a, k, unusable)
	case cluster.ContainerRunning:
		switch {
		case k.GateOpen:
			return nil
		case unusable != "":
			return wait(unusable)
		}
		return OpenGate{Application: a.Name}
	case cluster.ContainerPaused:
		return wait("its container is paused")
	}
	return wait(fmt.Sprintf("its container is in state %q, which this version does not know", k.State))
}

func (v view) start(a cluster.Application, unusable string, restart bool) Step {
	if unusable != "" {
		return Wait{About: ApplicationObject(a.Name), Reason: unusable}
	}
	return StartContainer{Application: a.Name, Restart: restart}
}

// restart starts an exited container again. One that did not end by itself was
// stopped by a move or by the end of a boot, and runs again under every policy.
func (v view) restart(a cluster.Application, k cluster.Container, unusable string) Step {
	wait := func(format string, args ...any) Step {
		return Wait{About: ApplicationObject(a.Name), Reason: fmt.Sprintf(format, args...)}
	}
	if !k.Ended {
		return v.start(a, unusable, false)
	}
	most := a.Restart.MaximumRetryCount
	switch a.Restart.Name {
	case cluster.RestartAlways:
		return v.start(a, unusable, true)
	case cluster.RestartNever, "":
		return wait("it ended with exit code %d and is not restarted by its policy", k.ExitCode)
	case cluster.RestartOnFailure:
		switch {
		case k.ExitCode == 0:
			return wait("it ended with exit code 0 and is restarted only on failure")
		case most > 0 && k.Restarts >= most:
			return wait("it ended with exit code %d and was restarted %d times, as often as its policy allows", k.ExitCode, k.Restarts)
		}
		return v.start(a, unusable, true)
	}
	return wait("its restart policy %q is not known to this version", a.Restart.Name)
}

// foreign says which of the application's data is another node's: nothing here may have it open.
func (v view) foreign(a cluster.Application) string {
	for _, id := range a.DatasetIDs() {
		if d, ok := v.desired.Datasets[id]; ok && d.Owner != v.me {
			return fmt.Sprintf("dataset %s is owned by %s", id, v.name(d.Owner))
		}
	}
	return ""
}

// homeless says which of the application's datasets has no record.
func (v view) homeless(a cluster.Application) string {
	for _, id := range a.DatasetIDs() {
		if _, ok := v.desired.Datasets[id]; !ok {
			return fmt.Sprintf("dataset %s is not in the desired state", id)
		}
	}
	return ""
}

// unready says why the application's data cannot be used yet.
func (v view) unready(a cluster.Application) string {
	for _, id := range a.DatasetIDs() {
		if reason := v.unusable(id); reason != "" {
			return reason
		}
	}
	return ""
}

// unusable says why no container may start on the dataset here now.
func (v view) unusable(id cluster.DatasetID) string {
	d, ok := v.desired.Datasets[id]
	c := v.seen.Copies[id]
	s, reason := v.stand(d.Move)
	switch {
	case !ok:
		return fmt.Sprintf("dataset %s is not in the desired state", id)
	case s != ordinary:
		return fmt.Sprintf("dataset %s: %s", id, reason)
	case v.strange(id, d, ok) != "":
		return fmt.Sprintf("dataset %s: %s", id, v.strange(id, d, ok))
	case d.Deleted:
		return fmt.Sprintf("dataset %s is being deleted", id)
	case d.Owner != v.me:
		return fmt.Sprintf("dataset %s is owned by %s", id, v.name(d.Owner))
	case d.Rollback != nil:
		return fmt.Sprintf("dataset %s is being rolled back", id)
	case d.Half(c):
		return fmt.Sprintf("dataset %s is being copied from another back end", id)
	case !c.Head || c.Mounted == "" || c.Scratch != "" || c.Epoch != d.Epoch || stale(d, c) != "":
		return fmt.Sprintf("dataset %s is not mounted yet", id)
	}
	return ""
}

// quiet takes a container out of service and keeps it: first it is not heard, then it does not run.
func quiet(k cluster.Container, name, reason string) Step {
	switch {
	case k.GateOpen:
		return CloseGate{Application: name}
	case live(k):
		return StopContainer{Application: name, Reason: reason}
	}
	return Wait{About: ApplicationObject(name), Reason: reason}
}

// remove takes a container out of service and away.
func remove(k cluster.Container, name, reason string) Step {
	if k.GateOpen || live(k) {
		return quiet(k, name, reason)
	}
	return RemoveContainer{Application: name}
}

// live says whether the container's processes exist, or may: a state that this version does not know counts.
func live(k cluster.Container) bool {
	return k.State != cluster.ContainerCreated && k.State != cluster.ContainerExited
}

func uses(k cluster.Container, id cluster.DatasetID) bool { return slices.Contains(k.Datasets, id) }
