// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

// ensureHolder makes the application's network namespace: a container that does nothing, running. It returns its ID.
func (e *Engine) ensureHolder(ctx context.Context, application string) (string, error) {
	name := holderNameOf(application)
	found, err := e.inspectNamed(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		return e.makeHolder(ctx, application)
	case err != nil:
		return "", err
	case !e.ours(found.Config.Labels, labelHolder, application):
		return "", fmt.Errorf("container %s: %w", name, container.ErrNameTaken)
	}
	return found.ID, e.startHolder(ctx, application, found)
}

func (e *Engine) makeHolder(ctx context.Context, application string) (string, error) {
	if err := e.ensureHolderImage(ctx); err != nil {
		return "", err
	}
	made, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{
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
	})
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", holderNameOf(application), err)
	}
	if _, err := e.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return "", fmt.Errorf("start container %s: %w", holderNameOf(application), err)
	}
	return made.ID, nil
}

func (e *Engine) startHolder(ctx context.Context, application string, holder dockercontainer.InspectResponse) error {
	if holder.State.Running {
		return nil
	}
	if _, err := e.api.ContainerStart(ctx, holder.ID, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", holderNameOf(application), err)
	}
	return nil
}

func (e *Engine) ensureHolderImage(ctx context.Context) error {
	e.setup.Lock()
	defer e.setup.Unlock()
	_, err := e.api.ImageInspect(ctx, e.config.HolderImage)
	if !errdefs.IsNotFound(err) {
		if err != nil {
			return fmt.Errorf("inspect image %s: %w", e.config.HolderImage, err)
		}
		return nil
	}
	archive, err := holderArchive()
	if err != nil {
		return err
	}
	reply, err := e.api.ImageImport(ctx, client.ImageImportSource{Source: archive, SourceName: "-"}, e.config.HolderImage,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/pause"]`}})
	if err != nil {
		return fmt.Errorf("import image %s: %w", e.config.HolderImage, err)
	}
	if err := drain(reply); err != nil {
		return fmt.Errorf("import image %s: %w", e.config.HolderImage, err)
	}
	return nil
}

// holderArchive is the image's whole filesystem: one program, made here because no registry need be reachable.
func holderArchive() (io.Reader, error) {
	program, err := PauseProgram(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, fmt.Errorf("write holder image: %w", err)
	}
	if _, err := w.Write(program); err != nil {
		return nil, fmt.Errorf("write holder image: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write holder image: %w", err)
	}
	return &archive, nil
}
