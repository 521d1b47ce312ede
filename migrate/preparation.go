// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/transfer"
)

// prepareTries bounds how often the target is asked before the move is given up.
const prepareTries = 8

// prepare checks both ends, and then makes the target ready.
func (r *run) prepare(ctx context.Context) error {
	done := r.times.measure("prepare")
	defer done(0)
	r.shown.step("prepare", 0)
	if problem := firstProblem(r.node.checkSource(r.move, r.ground.desired, r.ground.seen)); problem != nil {
		return problem
	}
	if _, err := r.askTarget(ctx, true); err != nil {
		return err
	}
	reply, err := r.askTarget(ctx, false)
	if err != nil {
		return err
	}
	if len(reply.NeedImages) > 0 {
		images, err := r.node.checkImages(ctx, r.apps, reply.NeedImages, nodeName(r.ground.desired, r.node.ID))
		if err != nil {
			return err
		}
		if problem := firstProblem(images); problem != nil {
			return problem
		}
		for _, image := range reply.NeedImages {
			if err := r.sendImage(ctx, image); err != nil {
				return err
			}
		}
		if reply, err = r.askTarget(ctx, false); err != nil {
			return err
		}
		if len(reply.NeedImages) > 0 {
			return fmt.Errorf("image %s was sent to the target and is still missing there", reply.NeedImages[0])
		}
	}
	return nil
}

// askTarget asks the target to get ready, or whether it could; a check that fails is an error.
func (r *run) askTarget(ctx context.Context, dryRun bool) (api.PrepareReply, error) {
	req, err := r.node.prepareRequest(ctx, r.move, r.apps, r.datasets())
	if err != nil {
		return api.PrepareReply{}, err
	}
	req.DryRun = dryRun
	pause := newPauses()
	for try := 1; ; try++ {
		reply, err := r.node.Peers.Prepare(ctx, r.target, req)
		if err == nil {
			if problem := firstProblem(reply.Checks); problem != nil {
				return reply, problem
			}
			return reply, nil
		}
		if lasting(err) || try == prepareTries {
			return reply, fmt.Errorf("prepare node %s: %w", r.nameOfTarget(), err)
		}
		if pause.wait(ctx) != nil {
			return reply, fmt.Errorf("prepare node %s: %w", r.nameOfTarget(), errors.Join(context.Cause(ctx), err))
		}
	}
}

func (r *run) nameOfTarget() string {
	if r.target.Name != "" {
		return r.target.Name
	}
	return string(r.target.ID)
}

func (r *run) datasets() []cluster.Dataset {
	var all []cluster.Dataset
	for _, s := range r.sets {
		all = append(all, s.dataset)
	}
	return all
}

func (n *Node) prepareRequest(ctx context.Context, m cluster.Move, apps []cluster.Application, sets []cluster.Dataset) (api.PrepareRequest, error) {
	req := api.PrepareRequest{Move: m, Applications: apps, Datasets: sets, Bytes: map[cluster.DatasetID]int64{}}
	held, err := n.look(ctx, sets...)
	if err != nil {
		return req, err
	}
	for _, d := range sets {
		req.Bytes[d.ID] = weight(d, held.Copies[d.ID])
	}
	return req, nil
}

// weight is what a target that has nothing of a dataset needs room for at least: what its head refers to and, since they are sent along,
// what only one of the snapshots that somebody asked to keep refers to. What several of those share and the head has no more, no back end
// tells.
func weight(d cluster.Dataset, c cluster.Copy) int64 {
	bytes := c.Used
	for _, s := range c.Snapshots {
		if d.Keeps(s) {
			bytes += s.Used
		}
	}
	return bytes
}

// sendImage takes an image to a target that cannot pull it.
func (r *run) sendImage(ctx context.Context, image string) error {
	done := r.times.measure("send image " + image)
	defer done(0)
	r.shown.step("send image "+image, 0)
	h := transfer.Header{Kind: transfer.KindImage, Move: r.move.ID, Attempt: r.move.Attempt, Image: image}
	s, err := r.node.Streams.Open(ctx, r.target.AgentAddress, r.target.ID, h, r.limit)
	if err != nil {
		return fmt.Errorf("send image %s: %w", image, err)
	}
	defer s.Abort()
	if err := r.node.Engine.Export(ctx, image, s); err != nil {
		return fmt.Errorf("send image %s: %w", image, err)
	}
	if _, err := s.CloseSend(ctx); err != nil {
		return fmt.Errorf("send image %s: %w", image, err)
	}
	return nil
}

// firstProblem is the first failed check as an error that says what to do.
func firstProblem(checks []api.Check) error {
	for _, c := range checks {
		if c.OK {
			continue
		}
		object := c.Object
		if !strings.HasPrefix(object, c.Name+" ") {
			object = c.Name + " " + object
		}
		text := object + ": " + c.Problem
		if c.Remedy != "" {
			text += " (" + c.Remedy + ")"
		}
		return &checkFailed{text}
	}
	return nil
}

// checkFailed is a refusal before anything was changed.
type checkFailed struct{ text string }

func (e *checkFailed) Error() string { return e.text }

// Is makes it a failed precondition.
func (e *checkFailed) Is(target error) bool { return target == cluster.ErrPrecondition }
