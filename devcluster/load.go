// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Load makes an image present in the engines of nodes, from this machine's engine, which gets it first where it lacks it.
func (c *Cluster) Load(ctx context.Context, ref string, nodes ...string) error {
	if err := c.engine.EnsureImage(ctx, ref); err != nil {
		return err
	}
	image, err := c.engine.docker.ImageInspect(ctx, ref)
	if err != nil {
		return fmt.Errorf("inspect image %s: %w", ref, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range nodes {
		if _, err := c.machine(ctx, node); err != nil {
			return err
		}
		group.Go(func() error { return c.loadInto(ctx, node, ref, image.ID) })
	}
	return group.Wait()
}

func (c *Cluster) loadInto(ctx context.Context, node, ref, id string) error {
	there, err := c.Exec(ctx, node, "docker", "image", "ls", "--no-trunc", "--quiet", ref)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(there)) == id {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	saved := make(chan error, 1)
	go func() {
		err := c.engine.SaveImage(ctx, ref, w)
		if err != nil {
			cancel(err) // the node must not take a part for the whole
		}
		w.CloseWithError(err) // nil becomes the end of the archive
		saved <- err
	}()
	var words bytes.Buffer
	err = c.Stream(ctx, node, Streams{Stdin: r, Stderr: &words}, "docker", "load", "--quiet")
	r.CloseWithError(io.ErrClosedPipe) // lets the saving end where the loading failed
	if failed := <-saved; failed != nil && err == nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("load image %s: %w %s", ref, firstOf(context.Cause(ctx), err), words.Bytes())
	}
	return nil
}
