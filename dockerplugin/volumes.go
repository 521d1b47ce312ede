// SPDX-License-Identifier: Apache-2.0

package dockerplugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// known is the state that this node has read, with what it has seen; without any there is no answer, which is not an empty one.
func (p *Plugin) known() (cluster.Desired, cluster.Observed, error) {
	desired, observed, _ := p.Local.State()
	if desired.Revision == 0 {
		return desired, observed, fmt.Errorf("this node has not read from the control service since its agent started; see flocker status: %w", cluster.ErrUnavailable)
	}
	return desired, observed, nil
}

// find is the dataset of a volume, as this node knows it.
func find(desired cluster.Desired, name string) (cluster.Dataset, error) {
	for _, d := range desired.Datasets {
		if d.Name == name && !d.Deleted {
			return d, nil
		}
	}
	return cluster.Dataset{}, fmt.Errorf("there is no such volume: %w", cluster.ErrNotFound)
}

// mountpoint is where containers find a dataset on this node; empty where it is not to be used here.
func (p *Plugin) mountpoint(d cluster.Dataset, observed cluster.Observed) string {
	c := observed.Copies[d.ID]
	if d.Owner != p.Node || c.Mounted == "" || !c.Head || c.Epoch != d.Epoch || c.Scratch != "" || d.Rollback != nil {
		return ""
	}
	return p.Local.Folder(d.ID)
}

func (p *Plugin) list(context.Context, request) (reply, error) {
	desired, observed, err := p.known()
	if err != nil {
		return reply{}, err
	}
	all := make([]volume, 0, len(desired.Datasets))
	for _, d := range desired.Datasets {
		if !d.Deleted {
			all = append(all, volume{Name: d.Name, Mountpoint: p.mountpoint(d, observed)})
		}
	}
	slices.SortFunc(all, func(a, b volume) int { return strings.Compare(a.Name, b.Name) })
	return reply{Volumes: all}, nil
}

func (p *Plugin) get(_ context.Context, q request) (reply, error) {
	desired, observed, err := p.known()
	if err != nil {
		return reply{}, err
	}
	d, err := find(desired, q.Name)
	if err != nil {
		return reply{}, err
	}
	status := map[string]any{"dataset": d.ID, "node": desired.Nodes[d.Owner].Name}
	if d.Size > 0 {
		status["size"] = cluster.FormatSize(d.Size)
	}
	if d.Profile != "" {
		status["profile"] = d.Profile
	}
	return reply{Volume: &volume{
		Name: d.Name, Mountpoint: p.mountpoint(d, observed), CreatedAt: d.Created.Format(time.RFC3339), Status: status,
	}}, nil
}

func (p *Plugin) path(_ context.Context, q request) (reply, error) {
	desired, observed, err := p.known()
	if err != nil {
		return reply{}, err
	}
	d, err := find(desired, q.Name)
	if err != nil {
		return reply{}, err
	}
	return reply{Mountpoint: p.mountpoint(d, observed)}, nil
}

// create makes a volume on this node. Docker asks again for what is there already.
func (p *Plugin) create(ctx context.Context, q request) (reply, error) {
	o, err := parseOptions(q.Opts)
	if err != nil {
		return reply{}, err
	}
	made, err := p.make(ctx, q.Name, o)
	if errors.Is(err, cluster.ErrExists) {
		return reply{}, p.fits(ctx, q.Name, o)
	}
	if err != nil {
		return reply{}, err
	}
	p.Log.Info("volume created", "volume", q.Name, "dataset", made.ID)
	p.read(ctx, made.Revision)
	return reply{}, nil
}

func (p *Plugin) make(ctx context.Context, name string, o options) (cluster.Dataset, error) {
	metadata := map[string]string{"name": name}
	if o.from != "" {
		return ask(ctx, func(ctx context.Context, from string) (cluster.Dataset, error) {
			return p.Control.CloneVolume(ctx, from, api.CloneRequest{Name: name, Snapshot: o.snapshot, Metadata: metadata})
		}, o.from)
	}
	if o.size > 0 {
		metadata["maximum_size"] = strconv.FormatInt(o.size, 10)
	}
	if o.profile != "" {
		metadata[cluster.ProfileKey] = o.profile
	}
	return ask(ctx, func(ctx context.Context, name string) (cluster.Dataset, error) {
		return p.Control.CreateVolume(ctx, api.DatasetRequest{
			Name: name, Node: string(p.Node), Size: o.size, Profile: o.profile, Backend: o.backend, Root: o.root, Metadata: metadata,
		})
	}, name)
}

// fits says whether the volume that is there is the one that is asked for.
func (p *Plugin) fits(ctx context.Context, name string, o options) error {
	there, err := ask(ctx, p.Control.Volume, name)
	if err != nil || o.from == "" {
		return errors.Join(err, o.differs(there.Dataset))
	}
	from, err := ask(ctx, p.Control.Volume, o.from)
	if err != nil {
		return fmt.Errorf("it exists, and %s, which it is to be a clone of, is not found: %w", o.from, err)
	}
	of := there.Origin
	if of == nil || of.Dataset != from.ID {
		return fmt.Errorf("it exists and is no clone of %s: %w", o.from, cluster.ErrExists)
	}
	if k, kept := from.Kept(of.Snapshot); o.snapshot != "" && (!kept || k.Name != o.snapshot && string(k.ID) != o.snapshot) {
		return fmt.Errorf("it exists and is a clone of another snapshot of %s than %s: %w", o.from, o.snapshot, cluster.ErrExists)
	}
	return nil
}

// remove destroys a volume, unless somebody uses or holds it. One that is gone already is removed.
func (p *Plugin) remove(ctx context.Context, q request) (reply, error) {
	h := p.hold(q.Name)
	if err := h.lock(ctx); err != nil {
		return reply{}, err
	}
	defer h.unlock()
	there, err := ask(ctx, p.Control.Volume, q.Name)
	if errors.Is(err, cluster.ErrNotFound) {
		return reply{}, nil
	}
	if err != nil {
		return reply{}, err
	}
	if p.isOurs(there.Lease) { // the last container may have ended only now
		if err := p.endUse(ctx, q.Name, there.ID); err != nil {
			return reply{}, err
		}
	}
	gone, err := ask(ctx, p.Control.DeleteVolume, q.Name)
	if err != nil && !errors.Is(err, cluster.ErrNotFound) {
		return reply{}, err
	}
	p.Log.Info("volume removed", "volume", q.Name, "dataset", gone.ID)
	p.read(ctx, gone.Revision)
	return reply{}, nil
}
