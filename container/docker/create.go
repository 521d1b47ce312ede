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

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// undoTimeout bounds the removal of a half-made container.
const undoTimeout = 30 * time.Second

// Create makes the holder, running, and the container joined to it, not started.
func (e *Engine) Create(ctx context.Context, spec container.Spec) (cluster.Container, error) {
	application := spec.Application.Name
	if err := checkName(application); err != nil {
		return cluster.Container{}, err
	}
	end, err := e.making.begin(ctx, application)
	if err != nil {
		return cluster.Container{}, err
	}
	defer end()
	to, err := e.placeOf(ctx, spec)
	if err != nil {
		return cluster.Container{}, err
	}
	made, err := e.existing(ctx, spec, to)
	if err != nil {
		return cluster.Container{}, err
	}
	if !made {
		if err := e.make(ctx, spec, to); err != nil {
			return cluster.Container{}, err
		}
	}
	found, err := e.find(ctx, application)
	return found.Container, err
}

// existing says whether the container is there as asked; its holder runs then.
func (e *Engine) existing(ctx context.Context, spec container.Spec, to place) (bool, error) {
	application := spec.Application.Name
	found, err := e.inspect(ctx, application)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want, err := e.applicationLabels(spec)
	if err != nil {
		return false, err
	}
	labels := found.Config.Labels
	if !e.ours(labels, labelApplication, application) || !sameSpec(labels, want) {
		return false, fmt.Errorf("container %s: %w", nameOf(application), container.ErrNameTaken)
	}
	holder, err := e.ensureHolder(ctx, application, to)
	if err != nil {
		return false, err
	}
	if found.HostConfig.NetworkMode == joins(holder) || found.State.Running {
		return true, nil
	}
	// Its holder was removed by another hand, or had another address: it can never start again.
	return false, e.removeContainer(ctx, application)
}

func (e *Engine) make(ctx context.Context, spec container.Spec, to place) (err error) {
	application := spec.Application.Name
	if _, _, err := e.HasImage(ctx, spec.Application.Image); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = e.undo(ctx, application, err)
		}
	}()
	holder, err := e.ensureHolder(ctx, application, to)
	if err != nil {
		return err
	}
	labels, err := e.applicationLabels(spec)
	if err != nil {
		return err
	}
	if err := e.guardSources(application, spec.Mounts); err != nil {
		return err
	}
	host, err := e.hostConfig(ctx, spec, holder)
	if err != nil {
		return err
	}
	made, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       nameOf(application),
		Config:     containerConfig(spec.Application, environment(spec, to.service), labels),
		HostConfig: host,
	})
	if err != nil {
		return fmt.Errorf("create container %s: %w", nameOf(application), err)
	}
	for _, warning := range made.Warnings {
		e.log.Warn("docker warns of a new container", "application", application, "warning", strings.TrimSpace(warning))
	}
	return e.linkSources(application, spec.Mounts)
}

// undo leaves nothing of a container that could not be made, unless the name is another's.
func (e *Engine) undo(ctx context.Context, application string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := e.remove(ctx, application); err != nil {
		return fmt.Errorf("%w; and then: %w", cause, err)
	}
	return cause
}

func containerConfig(a cluster.Application, environment []string, labels map[string]string) *dockercontainer.Config {
	config := &dockercontainer.Config{
		Image:      a.Image,
		Cmd:        a.Command,
		Env:        environment,
		User:       a.User,
		StopSignal: a.StopSignal,
		Labels:     labels,
		// The agent asks whether it is ready; Docker asking too would keep an idle node busy.
		Healthcheck: &dockercontainer.HealthConfig{Test: []string{"NONE"}},
	}
	if a.StopTimeout > 0 {
		seconds := seconds(a.StopTimeout)
		config.StopTimeout = &seconds
	}
	return config
}

func (e *Engine) hostConfig(ctx context.Context, spec container.Spec, holder string) (*dockercontainer.HostConfig, error) {
	a := spec.Application
	swappiness, err := e.swappiness(ctx, a)
	if err != nil {
		return nil, err
	}
	return &dockercontainer.HostConfig{
		NetworkMode:   joins(holder),
		RestartPolicy: dockercontainer.RestartPolicy{Name: dockercontainer.RestartPolicyDisabled},
		// A process can be moved with its shared memory only when that is not shared with other containers.
		IpcMode: dockercontainer.IPCModePrivate,
		Mounts:  e.mounts(a.Name, spec.Mounts),
		Resources: dockercontainer.Resources{
			Memory:           a.MemoryLimit,
			CPUShares:        a.CPUShares,
			MemorySwappiness: swappiness,
		},
	}, nil
}

// swappiness is what the engine can apply: control groups version 2 have no such setting.
func (e *Engine) swappiness(ctx context.Context, a cluster.Application) (*int64, error) {
	if a.Swappiness == nil {
		return nil, nil
	}
	info, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask docker for its control groups: %w", err)
	}
	if info.Info.CgroupVersion == "2" {
		e.log.Warn("swappiness is not applied: this host's control groups (version 2) have none", "application", a.Name)
		return nil, nil
	}
	return a.Swappiness, nil
}

func joins(holder string) dockercontainer.NetworkMode {
	return dockercontainer.NetworkMode("container:" + holder)
}
