// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// Deploy makes applications and datasets as requested, in one transaction. Asked
// for again it does nothing. An application that is to be elsewhere is moved.
func (s *Service) Deploy(ctx context.Context, by string, r api.DeployRequest) (api.DeployReply, error) {
	var reply api.DeployReply
	run := s.store.Update
	if r.DryRun {
		run = s.store.Read
	}
	used, err := s.usedPorts(ctx)
	if err != nil {
		return api.DeployReply{}, fmt.Errorf("deploy: look at the nodes' ports: %w", err)
	}
	rev, err := run(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		d.used = used
		p := deployment{service: s, draft: d, request: r, by: by, names: map[string]cluster.DatasetID{}}
		reply.Actions, err = p.plan(ctx)
		return err
	})
	if err != nil {
		return api.DeployReply{}, fmt.Errorf("deploy: %w", err)
	}
	if !r.DryRun {
		reply.Revision = rev
		s.log.Info("deployed", "by", by, "actions", len(reply.Actions))
	}
	return reply, nil
}

// deployment is one run over a draft.
type deployment struct {
	service *Service
	draft   *draft
	request api.DeployRequest
	by      string
	names   map[string]cluster.DatasetID // of datasets in the request
	targets map[string]cluster.NodeID    // where applications are to be
	actions []api.DeployAction
}

func (p *deployment) plan(ctx context.Context) ([]api.DeployAction, error) {
	apps, err := p.resolveNodes()
	if err != nil {
		return nil, err
	}
	if p.request.Prune {
		if err := p.prune(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.planDatasets(ctx, apps); err != nil {
		return nil, err
	}
	for _, a := range apps {
		if err := p.planApplication(ctx, a); err != nil {
			return nil, fmt.Errorf("application %s: %w", a.Name, err)
		}
	}
	if err := p.draft.check(); err != nil {
		return nil, err
	}
	return p.actions, p.planMoves(ctx)
}

func (p *deployment) did(v api.DeployVerb, object, name, detail string) {
	p.actions = append(p.actions, api.DeployAction{Verb: v, Object: object, Name: name, Detail: detail})
}

// resolveNodes turns each application's node into its id.
func (p *deployment) resolveNodes() ([]cluster.Application, error) {
	p.targets = map[string]cluster.NodeID{}
	apps := slices.Clone(p.request.Applications)
	for i, a := range apps {
		if _, twice := p.targets[a.Name]; twice {
			return nil, fmt.Errorf("application %s is in the request twice: %w", a.Name, cluster.ErrInvalid)
		}
		n, err := p.draft.node(string(a.Node))
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", a.Name, err)
		}
		apps[i].Node, p.targets[a.Name] = n.ID, n.ID
	}
	return apps, nil
}

func (p *deployment) prune(ctx context.Context) error {
	for _, name := range sortedKeys(p.draft.applications) {
		if _, wanted := p.targets[name]; wanted || p.draft.applications[name].Deleted {
			continue
		}
		if _, err := p.service.removeApplication(ctx, p.draft, name); err != nil {
			return fmt.Errorf("application %s: %w", name, err)
		}
		p.did(api.DeployDelete, applicationObject(name), name, "it is not in the deployment; its data stays")
	}
	return nil
}

// planDatasets makes the datasets that do not exist, where their application is (or will first be).
func (p *deployment) planDatasets(ctx context.Context, apps []cluster.Application) error {
	for _, n := range p.request.Datasets {
		key := firstOf(n.Name, string(n.ID))
		if there, ok := p.existing(n); ok {
			if n.Backend != "" && there.Backend != "" && n.Backend != there.Backend {
				return fmt.Errorf("dataset %s is in back end %s, not in %s: %w", key, there.Backend, n.Backend, cluster.ErrConflict)
			}
			if n.Profile != "" && n.Profile != there.Profile {
				return fmt.Errorf("dataset %s was made with profile %q, not %q, and keeps it for life: %w", key, there.Profile, n.Profile, cluster.ErrConflict)
			}
			if err := p.resize(ctx, there, n); err != nil {
				return fmt.Errorf("dataset %s: %w", key, err)
			}
			p.names[key] = there.ID
			continue
		}
		owner, err := p.home(n, apps)
		if err != nil {
			return fmt.Errorf("dataset %s: %w", key, err)
		}
		n.Owner = owner
		if n.ID, err = p.usable(ctx, n); err != nil {
			return fmt.Errorf("dataset %s: %w", key, err)
		}
		made, err := p.service.addDataset(ctx, p.draft, n)
		if err != nil {
			return fmt.Errorf("dataset %s: %w", key, err)
		}
		p.names[made.Name], p.names[string(made.ID)] = made.ID, made.ID
		p.did(api.DeployCreate, datasetObject(made.ID), made.Name, "on node "+p.draft.nodes[owner].Name)
	}
	return nil
}

// existing finds the dataset that is meant: by its id, else by its name.
func (p *deployment) existing(n cluster.Dataset) (cluster.Dataset, bool) {
	for _, ref := range []string{string(n.ID), firstOf(n.Name, n.Metadata["name"])} {
		if ref == "" {
			continue
		}
		if there, err := p.draft.dataset(ref); err == nil && !there.Deleted {
			return there, true
		}
	}
	return cluster.Dataset{}, false
}

// usable gives a new id to a named dataset whose id was that of a deleted one: an
// id that comes with a name was derived from it, and the name can be used again.
func (p *deployment) usable(ctx context.Context, n cluster.Dataset) (cluster.DatasetID, error) {
	if n.ID == "" || n.Name == "" {
		return n.ID, nil
	}
	if _, dying := p.draft.datasets[n.ID]; dying {
		return "", nil
	}
	_, err := store.Get(ctx, p.draft.tx, store.Tombstones.Under(string(n.ID)))
	if errors.Is(err, cluster.ErrNotFound) {
		return n.ID, nil
	}
	return "", err
}

func (p *deployment) resize(ctx context.Context, there, wanted cluster.Dataset) error {
	if wanted.Size == 0 || wanted.Size == there.Size {
		p.did(api.DeployKeep, datasetObject(there.ID), there.Name, "")
		return nil
	}
	if err := p.draft.idle(ctx, "it", there.Move); err != nil {
		return err
	}
	was := there.Size
	there.Size = wanted.Size
	if err := there.Validate(); err != nil {
		return err
	}
	if err := p.draft.mayResize(ctx, there); err != nil {
		return fmt.Errorf("dataset %s: %w", there.Name, err)
	}
	p.did(api.DeployUpdate, datasetObject(there.ID), there.Name, fmt.Sprintf("size %d, was %d", there.Size, was))
	return p.draft.putDataset(there)
}

// home is where a new dataset begins: on the node it names, else where its application is, or is to be.
func (p *deployment) home(n cluster.Dataset, apps []cluster.Application) (cluster.NodeID, error) {
	if n.Owner != "" {
		node, err := p.draft.node(string(n.Owner))
		return node.ID, err
	}
	for _, a := range apps {
		uses := slices.ContainsFunc(a.Volumes, func(v cluster.Volume) bool {
			return v.Dataset != "" && (v.Dataset == n.ID || string(v.Dataset) == firstOf(n.Name, n.Metadata["name"]))
		})
		if !uses {
			continue
		}
		if there, err := p.draft.application(a.Name); err == nil {
			return there.Node, nil
		}
		return a.Node, nil
	}
	return "", fmt.Errorf("no application of the request uses it, and it names no owner: %w", cluster.ErrInvalid)
}

// planMoves starts a move for each group whose applications are to be elsewhere.
func (p *deployment) planMoves(ctx context.Context) error {
	done := map[string]bool{}
	for _, name := range sortedKeys(p.targets) {
		a, target := p.draft.applications[name], p.targets[name]
		if done[name] || a.Node == target {
			continue
		}
		if p.onItsWay(ctx, a, target) {
			continue
		}
		apps, sets, err := p.draft.group(name, "")
		if err != nil {
			return fmt.Errorf("application %s: %w", name, err)
		}
		for _, other := range apps {
			if to, named := p.targets[other]; named && to != target {
				return fmt.Errorf("applications %s and %s share data, so that they must be on one node: %w", name, other, cluster.ErrConflict)
			}
			done[other] = true
		}
		m, err := p.service.startMove(ctx, p.draft, apps, sets, p.draft.nodes[target], cluster.Move{Options: p.request.Options, By: p.by})
		if err != nil {
			return fmt.Errorf("application %s: %w", name, err)
		}
		detail := fmt.Sprintf("from node %s to node %s", p.draft.nodes[m.Source].Name, p.draft.nodes[m.Target].Name)
		for _, other := range apps {
			p.actions = append(p.actions, api.DeployAction{Verb: api.DeployMove, Object: applicationObject(other), Name: other, Move: m.ID, Detail: detail})
		}
	}
	return nil
}

// onItsWay says whether a move under way leads to the target already.
func (p *deployment) onItsWay(ctx context.Context, a cluster.Application, target cluster.NodeID) bool {
	if a.Move == "" {
		return false
	}
	m, err := store.Get(ctx, p.draft.tx, store.Moves.Under(string(a.Move)))
	if err != nil || m.Target != target || m.CancelRequested {
		return false
	}
	for i := range p.actions {
		if p.actions[i].Object == applicationObject(a.Name) {
			p.actions[i].Move, p.actions[i].Detail = m.ID, "it is being moved there"
		}
	}
	return true
}
