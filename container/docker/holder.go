// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/moby/moby/api/types/container"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// place is what the holder of one application needs of the cluster network.
type place struct {
	network  string // the ID of Docker's
	address  netip.Addr
	address6 netip.Addr // not valid without IPv6
	service  netip.Addr
}

// placeOf makes sure that the network is there and the address belongs to it.
func (e *Engine) placeOf(ctx context.Context, spec container.Spec) (place, error) {
	config, network, err := e.network(ctx)
	if err != nil {
		return place{}, fmt.Errorf("create container %s: %w", nameOf(spec.Application.Name), err)
	}
	if err := config.CheckSpec(spec); err != nil {
		return place{}, err
	}
	address6 := cluster.Address6(config.Subnet6, spec.Address)
	return place{network: network, address: spec.Address, address6: address6, service: config.Service()}, nil
}

// ensureHolder makes the application's network namespace: a container that does nothing, running. It returns its ID.
func (e *Engine) ensureHolder(ctx context.Context, application string, to place) (string, error) {
	name := holderNameOf(application)
	found, err := e.inspectNamed(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		return e.makeHolder(ctx, application, to)
	case err != nil:
		return "", err
	case !e.ours(found.Config.Labels, labelHolder, application):
		return "", fmt.Errorf("container %s: %w", name, container.ErrNameTaken)
	case !e.fits(found, to):
		return e.replaceHolder(ctx, application, found, to)
	}
	return found.ID, e.startHolder(ctx, application, found)
}

// fits says whether the holder has, or gets when it starts, these addresses in this network. An earlier version's has one of Docker's choice.
func (e *Engine) fits(holder dockercontainer.InspectResponse, to place) bool {
	address, address6 := e.fixedAddresses(holder)
	return address == to.address && address6 == to.address6 && holder.NetworkSettings.Networks[e.config.Network].NetworkID == to.network
}

// fixedAddresses are those that a holder was made with; none is not valid.
func (e *Engine) fixedAddresses(holder dockercontainer.InspectResponse) (address, address6 netip.Addr) {
	endpoint := holder.NetworkSettings.Networks[e.config.Network]
	if endpoint == nil || endpoint.IPAMConfig == nil {
		return netip.Addr{}, netip.Addr{}
	}
	return endpoint.IPAMConfig.IPv4Address, endpoint.IPAMConfig.IPv6Address
}

func (e *Engine) replaceHolder(ctx context.Context, application string, holder dockercontainer.InspectResponse, to place) (string, error) {
	found, err := e.inspect(ctx, application)
	if err != nil && !errdefs.IsNotFound(err) {
		return "", err
	}
	if err == nil && found.State.Running {
		address, address6 := e.fixedAddresses(holder)
		return "", fmt.Errorf("container %s has the addresses %v and %v, not %v and %v: %w",
			nameOf(application), address, address6, to.address, to.address6, container.ErrAddressDiffers)
	}
	if err := e.removeOurs(ctx, holderNameOf(application), labelHolder, application); err != nil {
		return "", err
	}
	return e.makeHolder(ctx, application, to)
}

func (e *Engine) makeHolder(ctx context.Context, application string, to place) (string, error) {
	if err := e.ensureHolderImage(ctx); err != nil {
		return "", err
	}
	end, err := e.naming.begin(ctx, application)
	if err != nil {
		return "", err
	}
	defer end()
	id, err := e.createWithMAC(ctx, e.holderOptions(application, to), cluster.MACOf(to.address))
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", holderNameOf(application), err)
	}
	if _, err := e.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return "", e.explainStart(ctx, application, to.address, err)
	}
	return id, e.hideOwnName6(ctx, application, id, to.address6)
}

// hideOwnName6 is done before the application runs: later it may have looked itself up.
func (e *Engine) hideOwnName6(ctx context.Context, application, id string, address6 netip.Addr) error {
	if !address6.IsValid() {
		return nil
	}
	holder, err := e.inspectNamed(ctx, id)
	if err != nil {
		return err
	}
	if err := writeNames(holder.HostsPath, nil, address6); err != nil {
		return fmt.Errorf("create container %s: %w", holderNameOf(application), err)
	}
	return nil
}

func (e *Engine) holderOptions(application string, to place) client.ContainerCreateOptions {
	return client.ContainerCreateOptions{
		Name: holderNameOf(application),
		Config: &dockercontainer.Config{
			Image:    e.config.HolderImage,
			Hostname: application,
			Labels:   e.holderLabels(application),
		},
		HostConfig: &dockercontainer.HostConfig{
			NetworkMode:    dockercontainer.NetworkMode(e.config.Network),
			RestartPolicy:  dockercontainer.RestartPolicy{Name: dockercontainer.RestartPolicyDisabled},
			LogConfig:      dockercontainer.LogConfig{Type: "none"},
			IpcMode:        dockercontainer.IPCModeNone,
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
		},
		NetworkingConfig: &dockernetwork.NetworkingConfig{EndpointsConfig: map[string]*dockernetwork.EndpointSettings{
			e.config.Network: {IPAMConfig: &dockernetwork.EndpointIPAMConfig{IPv4Address: to.address, IPv6Address: to.address6}},
		}},
	}
}

// startHolder starts a holder that has stopped. Docker writes its file of names anew then, so ours are written again.
func (e *Engine) startHolder(ctx context.Context, application string, holder dockercontainer.InspectResponse) error {
	if holder.State.Running {
		return nil
	}
	end, err := e.naming.begin(ctx, application)
	if err != nil {
		return err
	}
	defer end()
	address, address6 := e.fixedAddresses(holder)
	names, lost := namesIn(holder.HostsPath)
	if _, err := e.api.ContainerStart(ctx, holder.ID, client.ContainerStartOptions{}); err != nil {
		return e.explainStart(ctx, application, address, err)
	}
	if lost == nil {
		lost = writeNames(holder.HostsPath, names, address6)
	}
	if lost != nil {
		// It can run without them, and the next SetHosts says the same again.
		e.log.Warn("names of other applications are lost with the restart of a holder", "application", application, "error", lost)
	}
	return nil
}

// explainStart names the container for which Docker refused the address; Docker does not say.
func (e *Engine) explainStart(ctx context.Context, application string, address netip.Addr, refused error) error {
	network, err := e.inspectNetwork(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	for _, other := range network.Containers {
		if other.IPv4Address.Addr() == address && other.Name != holderNameOf(application) {
			return &container.AddressTakenError{Application: application, Address: address, Container: other.Name}
		}
	}
	return fmt.Errorf("start container %s: %w", holderNameOf(application), refused)
}
