// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

// Join makes Docker's network as the cluster wants it, and the holders' image, so that the first application does not wait for that.
func (e *Engine) Join(ctx context.Context, config container.NetworkConfig) error {
	if err := config.Check(); err != nil {
		return err
	}
	e.leaveUnless(config)
	if err := e.ensureHolderImage(ctx); err != nil {
		return err
	}
	e.setup.Lock()
	defer e.setup.Unlock()
	if _, err := e.ensureNetwork(ctx, config); err != nil {
		return err
	}
	e.joined = config
	return nil
}

// Prepare makes what needs no network, so that it is there before Join: the holders' image.
func (e *Engine) Prepare(ctx context.Context) error { return e.ensureHolderImage(ctx) }

// leaveUnless keeps everything from being made until a Join has succeeded: what the cluster wants may not be what is there.
// Where it is what was joined before, a runtime that is away for a moment changes nothing: the network is looked for at
// each Create.
func (e *Engine) leaveUnless(config container.NetworkConfig) {
	e.setup.Lock()
	defer e.setup.Unlock()
	if e.joined != config {
		e.joined = container.NetworkConfig{}
	}
}

// network returns the settings that were joined, and the ID of Docker's network, which others may have pruned since.
func (e *Engine) network(ctx context.Context) (container.NetworkConfig, string, error) {
	e.setup.Lock()
	defer e.setup.Unlock()
	if !e.joined.Subnet.IsValid() {
		return container.NetworkConfig{}, "", container.ErrNotJoined
	}
	id, err := e.ensureNetwork(ctx, e.joined)
	return e.joined, id, err
}

// ensureNetwork returns the network's ID; the lock is held.
func (e *Engine) ensureNetwork(ctx context.Context, config container.NetworkConfig) (string, error) {
	want := e.networkOptions(config)
	found, err := e.inspectNetwork(ctx)
	switch {
	case errdefs.IsNotFound(err):
		return e.createNetwork(ctx, want)
	case err != nil:
		return "", err
	case settingsOf(found) == settingsWanted(want):
		return found.ID, nil
	}
	if err := e.checkUnused(ctx, found, want); err != nil {
		return "", err
	}
	if _, err := e.api.NetworkRemove(ctx, found.ID, client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("remove docker network %s, to make it anew: %w", e.config.Network, err)
	}
	e.log.Info("docker's network had other settings and is made anew", "network", e.config.Network, "subnet", config.Subnet.String(), "subnet6", config.Subnet6.String())
	return e.createNetwork(ctx, want)
}

func (e *Engine) createNetwork(ctx context.Context, want client.NetworkCreateOptions) (string, error) {
	made, refused := e.api.NetworkCreate(ctx, e.config.Network, want)
	if refused == nil {
		return made.ID, nil
	}
	found, err := e.inspectNetwork(ctx)
	if err == nil && settingsOf(found) == settingsWanted(want) {
		return found.ID, nil // another process made it first
	}
	for _, pool := range want.IPAM.Config {
		if err := e.checkOverlap(ctx, pool.Subnet); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("create docker network %s with %s: %w", e.config.Network, settingsWanted(want), refused)
}

// checkOverlap finds the network for which Docker refused the subnet; Docker does not say.
func (e *Engine) checkOverlap(ctx context.Context, subnet netip.Prefix) error {
	all, err := e.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return fmt.Errorf("list docker networks: %w", err)
	}
	for _, other := range all.Items {
		for _, pool := range other.IPAM.Config {
			if pool.Subnet.Overlaps(subnet) && other.Name != e.config.Network {
				return &container.SubnetTakenError{Network: e.config.Network, Subnet: subnet, Other: other.Name, OtherSubnet: pool.Subnet}
			}
		}
	}
	return nil
}

// checkUnused names every container that has the network, stopped ones too: Docker could not start those once it is made anew.
func (e *Engine) checkUnused(ctx context.Context, found dockernetwork.Inspect, want client.NetworkCreateOptions) error {
	listed, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	busy := &container.NetworkBusyError{
		Network: e.config.Network,
		Have:    settingsOf(found),
		Want:    settingsWanted(want),
	}
	known := map[string]bool{}
	for _, c := range listed.Items {
		known[c.ID] = true
		if c.NetworkSettings == nil || c.NetworkSettings.Networks[e.config.Network] == nil {
			continue
		}
		if c.Labels[labelCluster] == e.config.Cluster && c.Labels[labelHolder] != "" {
			busy.Ours = append(busy.Ours, foreignName(c))
		} else {
			busy.Foreign = append(busy.Foreign, foreignName(c))
		}
	}
	for id, endpoint := range found.Containers {
		if !known[id] {
			busy.Foreign = append(busy.Foreign, endpoint.Name)
		}
	}
	if len(busy.Ours)+len(busy.Foreign) == 0 {
		return nil
	}
	slices.Sort(busy.Ours)
	slices.Sort(busy.Foreign)
	return busy
}

func (e *Engine) inspectNetwork(ctx context.Context) (dockernetwork.Inspect, error) {
	found, err := e.api.NetworkInspect(ctx, e.config.Network, client.NetworkInspectOptions{})
	if err != nil {
		return dockernetwork.Inspect{}, fmt.Errorf("inspect docker network %s: %w", e.config.Network, err)
	}
	return found.Network, nil
}

// RemoveShared removes the network and the holders' image; every container of ours must be gone.
func (e *Engine) RemoveShared(ctx context.Context) error {
	if _, err := e.api.NetworkRemove(ctx, e.config.Network, client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove docker network %s: %w", e.config.Network, err)
	}
	if _, err := e.api.ImageRemove(ctx, e.config.HolderImage, client.ImageRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", e.config.HolderImage, err)
	}
	return nil
}
