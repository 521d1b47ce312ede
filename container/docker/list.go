// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// List returns our containers, the running foreign ones that publish ports or use folders of the host, and those that have a name
// of ours. A holder without its container, left by a creation that was cut short, is shown as a created container of no specification.
func (e *Engine) List(ctx context.Context) ([]container.Found, error) {
	listed, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	ours := map[string]bool{}
	holders := map[string]bool{}
	var foreign []dockercontainer.Summary
	for _, c := range listed.Items {
		switch {
		case c.Labels[labelCluster] == e.config.Cluster && c.Labels[labelApplication] != "":
			ours[c.Labels[labelApplication]] = true
		case c.Labels[labelCluster] == e.config.Cluster && c.Labels[labelHolder] != "":
			holders[c.Labels[labelHolder]] = true
		default:
			foreign = append(foreign, c)
		}
	}
	all, err := e.findAll(ctx, ours)
	if err != nil {
		return nil, err
	}
	for application := range holders {
		if !ours[application] && !e.making.now(application) {
			all = append(all, strayHolder(application))
		}
	}
	users, err := e.foreign(ctx, foreign)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b container.Found) int { return strings.Compare(a.Name, b.Name) })
	return append(all, users...), nil
}

func (e *Engine) findAll(ctx context.Context, applications map[string]bool) ([]container.Found, error) {
	var all []container.Found
	for application := range applications {
		found, err := e.find(ctx, application)
		if errdefs.IsNotFound(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
	return all, nil
}

func strayHolder(application string) container.Found {
	return container.Found{
		Container: cluster.Container{Application: application, State: cluster.ContainerCreated},
		Ours:      true,
		Name:      nameOf(application),
	}
}

// find describes one container of ours.
func (e *Engine) find(ctx context.Context, application string) (container.Found, error) {
	c, err := e.inspect(ctx, application)
	if err != nil {
		return container.Found{}, err
	}
	mounts, err := mountsOf(c.Config.Labels)
	if err != nil {
		return container.Found{}, err
	}
	found := container.Found{
		Container: cluster.Container{
			Application: application,
			ID:          c.ID,
			State:       stateOf(c.State),
			Spec:        c.Config.Labels[labelSpec],
			ExitCode:    c.State.ExitCode,
			Error:       errorOf(c.State),
			Started:     timeOf(c.State.StartedAt),
		},
		Ours: true,
		Name: nameOf(application),
	}
	for _, m := range mounts {
		found.Datasets = append(found.Datasets, m.Dataset)
		found.Mounts = append(found.Mounts, m.Source)
	}
	return found, e.addNetwork(ctx, c.HostConfig.NetworkMode, &found)
}

// addNetwork tells what the holder's namespace is; without a running holder there is none.
func (e *Engine) addNetwork(ctx context.Context, mode dockercontainer.NetworkMode, found *container.Found) error {
	id := strings.TrimPrefix(string(mode), "container:")
	holder, err := e.inspectNamed(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("holder of container %s: %w", found.Name, err)
	}
	if holder.State.Running {
		found.Netns = procPath(holder.State.Pid, "ns", "net")
		if endpoint := holder.NetworkSettings.Networks[e.config.Network]; endpoint != nil && endpoint.IPAddress.IsValid() {
			found.Address = endpoint.IPAddress.String()
		}
	}
	return nil
}

func stateOf(s *dockercontainer.State) cluster.ContainerState {
	switch {
	case s.Paused:
		return cluster.ContainerPaused
	case s.Running:
		return cluster.ContainerRunning
	case s.Status == dockercontainer.StateCreated:
		return cluster.ContainerCreated
	default:
		return cluster.ContainerExited
	}
}

func errorOf(s *dockercontainer.State) string {
	if s.OOMKilled && !s.Running {
		return strings.TrimSpace("killed because it used more memory than its limit. " + s.Error)
	}
	return s.Error
}

// timeOf is zero for what has never started.
func timeOf(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() <= 1 {
		return time.Time{}
	}
	return at
}
