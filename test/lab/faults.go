// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"path"
)

// drills is where the agents of a development cluster look for points to die at.
const drills = "/run/flocker/faults"

// Drill has the agent of a node die, as by kill -9, when it next passes a point of a move.
func (l *Lab) Drill(ctx context.Context, node, point string) error {
	_, err := l.Exec(ctx, node, "sh", "-c", "mkdir -p "+drills+" && touch "+path.Join(drills, point))
	return err
}

// Drilled says whether the agent of a node has died at the point, and gives the drill up where it has not.
func (l *Lab) Drilled(ctx context.Context, node, point string) (bool, error) {
	out, err := l.Exec(ctx, node, "sh", "-c", "rm "+path.Join(drills, point)+" 2>/dev/null || echo died")
	return len(out) > 0, err
}

// Kill kills a process of a node: agent, docker or control. Its supervisor starts it again.
func (l *Lab) Kill(ctx context.Context, node, process string) error {
	_, err := l.Dev(ctx, "kill", node, process)
	return err
}

// Cut cuts a node off from others, or from all when none is named; Heal ends it.
func (l *Lab) Cut(ctx context.Context, node string, from ...string) error {
	args := []string{"partition", node}
	for _, f := range from {
		args = append(args, "--from", f)
	}
	_, err := l.Dev(ctx, args...)
	return err
}

// Heal ends every cut.
func (l *Lab) Heal(ctx context.Context) error {
	_, err := l.Dev(ctx, "heal")
	return err
}

// PowerOff takes a node's power away.
func (l *Lab) PowerOff(ctx context.Context, node string) error {
	_, err := l.Dev(ctx, "stop", node)
	return err
}

// PowerOn boots a node.
func (l *Lab) PowerOn(ctx context.Context, node string) error {
	_, err := l.Dev(ctx, "start", node)
	return err
}

// Mend ends every fault that outlasts its cause: cuts, frozen nodes and stopped nodes.
func (l *Lab) Mend(ctx context.Context) error {
	var errs []error
	for i := range l.Nodes {
		_, err := l.Dev(ctx, "unpause", Node(i+1))
		errs = append(errs, err, l.PowerOn(ctx, Node(i+1)))
	}
	return errors.Join(append(errs, l.Heal(ctx))...)
}
