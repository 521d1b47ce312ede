// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// ExitError is a command's failure inside a node.
type ExitError struct {
	Node    string
	Command string
	Code    int
	Stderr  string
}

// Error names the node, the command and its own words.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s: %q: exit status %d", e.Node, e.Command, e.Code)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Exec runs a command in a node and returns what it printed; what it wrote to standard error is in the error.
func (c *Cluster) Exec(ctx context.Context, node string, command ...string) ([]byte, error) {
	var out, errOut bytes.Buffer
	err := c.Stream(ctx, node, Streams{Stdout: &out, Stderr: &errOut}, command...)
	if exit, ok := err.(*ExitError); ok { //nolint:errorlint // Stream returns it as it is
		exit.Stderr = strings.TrimSpace(errOut.String())
	}
	return out.Bytes(), err
}

// Streams are what a command in a node reads and writes; nil ones are empty or dropped.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Stream runs a command in a node with the given streams. The command outlives a ctx that ends before it.
func (c *Cluster) Stream(ctx context.Context, node string, s Streams, command ...string) error {
	n, err := c.Node(node)
	if err != nil {
		return err
	}
	e, err := c.startExec(ctx, n, s.Stdin != nil, false, command)
	if err != nil {
		return err
	}
	defer e.attached.Close()
	stop := context.AfterFunc(ctx, e.attached.Close)
	defer stop()
	if s.Stdin != nil {
		go e.feed(s.Stdin)
	}
	if _, err := stdcopy.StdCopy(orDiscard(s.Stdout), orDiscard(s.Stderr), e.attached.Reader); err != nil {
		return fmt.Errorf("%s: %q: %w", node, strings.Join(command, " "), firstOf(ctx.Err(), err))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %q: %w", node, strings.Join(command, " "), ctx.Err())
	}
	return e.exit(ctx)
}

// execution is a command that runs in a node.
type execution struct {
	engine   *Engine
	node     Node
	command  []string
	id       string
	attached client.HijackedResponse
}

func (c *Cluster) startExec(ctx context.Context, n Node, stdin, tty bool, command []string) (*execution, error) {
	what := fmt.Sprintf("%s: %q", n.Name, strings.Join(command, " "))
	created, err := c.engine.docker.ExecCreate(ctx, n.Container, client.ExecCreateOptions{
		Cmd: command, TTY: tty, AttachStdin: stdin, AttachStdout: true, AttachStderr: true,
	})
	if cerrdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%w: %s (see flocker dev status)", ErrNoNode, n.Name)
	}
	if cerrdefs.IsConflict(err) {
		return nil, fmt.Errorf("%s: %w (see flocker dev status)", what, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	attached, err := c.engine.docker.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: tty})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return &execution{engine: c.engine, node: n, command: command, id: created.ID, attached: attached.HijackedResponse}, nil
}

// feed writes the command's input. A command need not read all of it, so an error here is none of the command's.
func (e *execution) feed(in io.Reader) {
	_, _ = io.Copy(e.attached.Conn, in)
	_ = e.attached.CloseWrite()
}

func (e *execution) exit(ctx context.Context) error {
	ended, err := e.engine.docker.ExecInspect(ctx, e.id, client.ExecInspectOptions{})
	if err != nil {
		return fmt.Errorf("%s: how %q ended: %w", e.node.Name, strings.Join(e.command, " "), err)
	}
	if ended.ExitCode != 0 {
		return &ExitError{Node: e.node.Name, Command: strings.Join(e.command, " "), Code: ended.ExitCode}
	}
	return nil
}

// CopyTo puts a file into a node, running or not, and makes the folders above it. Folders that are in memory in a
// node, /run and /tmp, cannot be reached so.
func (c *Cluster) CopyTo(ctx context.Context, node, path string, content []byte, mode fs.FileMode) error {
	n, err := c.Node(node)
	if err != nil {
		return err
	}
	return c.copyStream(ctx, n, path, bytes.NewReader(content), int64(len(content)), mode)
}

func (c *Cluster) copyStream(ctx context.Context, n Node, path string, content io.Reader, size int64, mode fs.FileMode) error {
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		err := archive.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: int64(mode.Perm()), Size: size})
		if err == nil {
			_, err = io.Copy(archive, content)
		}
		if err == nil {
			err = archive.Close()
		}
		w.CloseWithError(err) // nil becomes the end of the archive
	}()
	_, err := c.engine.docker.CopyToContainer(ctx, n.Container, client.CopyToContainerOptions{DestinationPath: "/", Content: r})
	r.CloseWithError(io.ErrClosedPipe) // ends the writer where the engine gave up
	if err != nil {
		return fmt.Errorf("copy %s to %s: %w", path, n.Name, err)
	}
	return nil
}

// readFile reads a small file of a node, running or not; a missing one is empty.
func (c *Cluster) readFile(ctx context.Context, n Node, path string) ([]byte, error) {
	answer, err := c.engine.docker.CopyFromContainer(ctx, n.Container, client.CopyFromContainerOptions{SourcePath: path})
	if cerrdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", path, n.Name, err)
	}
	defer func() { _ = answer.Content.Close() }() // read as far as it is wanted
	archive := tar.NewReader(answer.Content)
	if _, err := archive.Next(); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", path, n.Name, err)
	}
	content, err := io.ReadAll(archive)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", path, n.Name, err)
	}
	return content, nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
