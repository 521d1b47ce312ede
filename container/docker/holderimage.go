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
	"github.com/moby/moby/client"
)

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
