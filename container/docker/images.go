// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

// unknownManifest is a registry's word for "no such image"; Docker passes it on within its answer, without a code.
const unknownManifest = "manifest unknown"

// HasImage says whether the image is here, and its content ID and size.
func (e *Engine) HasImage(ctx context.Context, ref string) (id string, size int64, err error) {
	found, err := e.api.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", 0, fmt.Errorf("image %s: %w", ref, container.ErrImageMissing)
	}
	if err != nil {
		return "", 0, fmt.Errorf("inspect image %s: %w", ref, err)
	}
	return found.ID, found.Size, nil
}

// Pull fetches the image from its registry.
func (e *Engine) Pull(ctx context.Context, ref string) error {
	auth, err := e.registryAuth(ctx, ref)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	reply, err := e.api.ImagePull(ctx, ref, client.ImagePullOptions{RegistryAuth: auth})
	if err == nil {
		err = drain(reply)
	}
	if errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), unknownManifest) {
		return fmt.Errorf("pull image %s: %w: %w", ref, container.ErrImageMissing, err)
	}
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	return nil
}

// Export writes the image as Docker's archive, which keeps its tag.
func (e *Engine) Export(ctx context.Context, ref string, w io.Writer) (err error) {
	if _, _, err := e.HasImage(ctx, ref); err != nil {
		return err
	}
	archive, err := e.api.ImageSave(ctx, []string{ref})
	if err != nil {
		return fmt.Errorf("export image %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	if _, err := io.Copy(w, archive); err != nil {
		return fmt.Errorf("export image %s: %w", ref, err)
	}
	return nil
}

// Import reads what Export wrote.
func (e *Engine) Import(ctx context.Context, r io.Reader) error {
	reply, err := e.api.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	if err := drain(reply); err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	return nil
}

// drain reads a stream of progress messages to its end, closes it, and returns the error that it reports.
func drain(stream io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, stream.Close()) }()
	messages := json.NewDecoder(stream)
	for {
		var message jsonstream.Message
		switch err := messages.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read docker's answer: %w", err)
		case message.Error != nil:
			return message.Error
		}
	}
}
