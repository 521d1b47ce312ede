// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// ensureNetwork makes the network of the holders and returns the address that this node has in it.
func (e *Engine) ensureNetwork(ctx context.Context) (gateway netip.Addr, err error) {
	e.setup.Lock()
	defer e.setup.Unlock()
	gateway, err = e.gateway(ctx)
	if !errdefs.IsNotFound(err) {
		return gateway, err
	}
	options := client.NetworkCreateOptions{
		Driver:  "bridge",
		Options: map[string]string{"com.docker.network.bridge.name": e.config.Bridge},
		Labels:  map[string]string{labelCluster: e.config.Cluster},
	}
	if e.config.Subnet.IsValid() {
		options.IPAM = &dockernetwork.IPAM{Config: []dockernetwork.IPAMConfig{{Subnet: e.config.Subnet}}}
	}
	_, refused := e.api.NetworkCreate(ctx, e.config.Network, options)
	gateway, err = e.gateway(ctx)
	if refused != nil && err != nil { // another process may have made it first
		return netip.Addr{}, fmt.Errorf("create docker network %s: %w", e.config.Network, refused)
	}
	return gateway, err
}

func (e *Engine) gateway(ctx context.Context) (netip.Addr, error) {
	found, err := e.api.NetworkInspect(ctx, e.config.Network, client.NetworkInspectOptions{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("inspect docker network %s: %w", e.config.Network, err)
	}
	for _, pool := range found.Network.IPAM.Config {
		if pool.Gateway.Is4() {
			return pool.Gateway, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("docker network %s has no IPv4 gateway", e.config.Network)
}

// Prepare makes what all applications share, so that the first of them does not wait for it: the network and the holders' image.
func (e *Engine) Prepare(ctx context.Context) error {
	if _, err := e.ensureNetwork(ctx); err != nil {
		return err
	}
	return e.ensureHolderImage(ctx)
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
