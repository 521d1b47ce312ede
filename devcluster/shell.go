// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/moby/moby/client"
	"golang.org/x/term"
)

// Shell runs a command in a node on this process's terminal, which must be one.
func (c *Cluster) Shell(ctx context.Context, node string, terminal *os.File, command ...string) (err error) {
	n, err := c.Node(node)
	if err != nil {
		return err
	}
	fd := int(terminal.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	defer func() { err = errors.Join(err, term.Restore(fd, before)) }()
	e, err := c.startExec(ctx, n, true, true, command)
	if err != nil {
		return err
	}
	defer e.attached.Close()
	stop := context.AfterFunc(ctx, e.attached.Close)
	defer stop()
	defer e.followSize(ctx, fd)()
	go e.feed(terminal)
	if _, err := io.Copy(os.Stdout, e.attached.Reader); err != nil {
		return fmt.Errorf("%s: %q: %w", node, strings.Join(command, " "), firstOf(ctx.Err(), err))
	}
	return e.exit(ctx)
}

// followSize tells the node the terminal's size, now and whenever it changes, until the returned function is called.
func (e *execution) followSize(ctx context.Context, fd int) (end func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	changed <- syscall.SIGWINCH
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range changed {
			if width, height, err := term.GetSize(fd); err == nil {
				// A wrong size is an ugly screen, nothing more.
				_, _ = e.engine.docker.ExecResize(ctx, e.id, client.ExecResizeOptions{Height: uint(height), Width: uint(width)})
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(changed)
		<-done
	}
}
