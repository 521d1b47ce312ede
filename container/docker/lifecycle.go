// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

// noticeTimeout bounds how far the engine's knowledge may be behind the kernel's.
const noticeTimeout = 20 * time.Second

// inspect asks for an application's container; the caller tells "not found" apart with errdefs.
func (e *Engine) inspect(ctx context.Context, application string) (dockercontainer.InspectResponse, error) {
	return e.inspectNamed(ctx, nameOf(application))
}

// inspectNamed asks for a container by name or ID. Where Docker has not noticed yet that its processes have ended it waits for that,
// so that "running" is true and an exit code is known.
func (e *Engine) inspectNamed(ctx context.Context, name string) (dockercontainer.InspectResponse, error) {
	found, err := e.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err == nil && found.Container.State.Running && !alive(found.Container.State.Pid) {
		if err := e.untilNoticed(ctx, found.Container.ID); err != nil {
			return dockercontainer.InspectResponse{}, fmt.Errorf("container %s: %w", name, err)
		}
		found, err = e.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	}
	if err != nil {
		return dockercontainer.InspectResponse{}, fmt.Errorf("inspect container %s: %w", name, err)
	}
	return found.Container, nil
}

// owned is inspect for a container that must be there and ours.
func (e *Engine) owned(ctx context.Context, application string) (dockercontainer.InspectResponse, error) {
	found, err := e.inspect(ctx, application)
	if errdefs.IsNotFound(err) {
		return found, fmt.Errorf("container %s: %w", nameOf(application), container.ErrNotFound)
	}
	if err == nil && !e.ours(found.Config.Labels, labelApplication, application) {
		return found, fmt.Errorf("container %s: %w", nameOf(application), container.ErrNameTaken)
	}
	return found, err
}

// Start starts the container, after its holder where that has stopped.
func (e *Engine) Start(ctx context.Context, application string) error {
	found, err := e.owned(ctx, application)
	if err != nil {
		return err
	}
	if found.State.Running {
		return nil
	}
	mounts, err := mountsOf(found.Config.Labels)
	if err != nil {
		return err
	}
	if err := checkSources(mounts); err != nil {
		return fmt.Errorf("start container %s: %w", nameOf(application), err)
	}
	if err := e.startHolderOf(ctx, application, found.HostConfig.NetworkMode); err != nil {
		return err
	}
	if err := e.linkSources(application, mounts); err != nil {
		return err
	}
	if _, err := e.api.ContainerStart(ctx, found.ID, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", nameOf(application), err)
	}
	return nil
}

func (e *Engine) startHolderOf(ctx context.Context, application string, mode dockercontainer.NetworkMode) error {
	holder, err := e.inspectNamed(ctx, strings.TrimPrefix(string(mode), "container:"))
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("start container %s: its namespace holder was removed; create it again: %w", nameOf(application), container.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("holder of container %s: %w", nameOf(application), err)
	}
	if !holder.State.Running {
		if err := e.checkHolder(ctx, application, holder); err != nil {
			return err
		}
	}
	return e.startHolder(ctx, application, holder)
}

// checkHolder refuses a holder that would get no address, or one of Docker's choice; Create makes it anew.
func (e *Engine) checkHolder(ctx context.Context, application string, holder dockercontainer.InspectResponse) error {
	network, err := e.inspectNetwork(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	address, address6 := e.fixedAddresses(holder)
	if !address.IsValid() || !e.fits(holder, place{network: network.ID, address: address, address6: address6}) {
		return fmt.Errorf("start container %s: its namespace holder has no address in the cluster network; create it again: %w",
			nameOf(application), container.ErrNotFound)
	}
	return nil
}

// untilNoticed returns when the engine knows that the container's processes have ended.
func (e *Engine) untilNoticed(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	wait := e.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: dockercontainer.WaitConditionNotRunning})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("docker says that it runs, and its process is not to be seen (the agent must be in the engine's PID namespace): %w", err)
	}
}

// Remove removes the container, its holder, and the anonymous volumes that its image asked for.
func (e *Engine) Remove(ctx context.Context, application string) error {
	if err := checkName(application); err != nil {
		return err
	}
	end, err := e.making.begin(ctx, application)
	if err != nil {
		return err
	}
	defer end()
	return e.remove(ctx, application)
}

func (e *Engine) remove(ctx context.Context, application string) error {
	if err := e.removeContainer(ctx, application); err != nil {
		return err
	}
	if err := e.removeOurs(ctx, holderNameOf(application), labelHolder, application); err != nil {
		return err
	}
	return e.dropSources(application)
}

func (e *Engine) removeContainer(ctx context.Context, application string) error {
	return e.removeOurs(ctx, nameOf(application), labelApplication, application)
}

// removeOurs leaves alone what bears the name and is not ours.
func (e *Engine) removeOurs(ctx context.Context, name, role, application string) error {
	found, err := e.inspectNamed(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !e.ours(found.Config.Labels, role, application) {
		return nil
	}
	if !found.State.Running {
		if err := endLeftovers(found.ID); err != nil {
			return fmt.Errorf("remove container %s: %w", name, err)
		}
	}
	_, err = e.api.ContainerRemove(ctx, found.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove container %s: %w", name, err)
	}
	return nil
}
