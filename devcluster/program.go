// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// The program's place in a node, and the sum of the one that was put there.
const (
	programPath = "/usr/local/bin/flocker"
	programSum  = "/usr/local/lib/flocker-dev/flocker.sha256"
)

// program is the flocker binary that the nodes run.
type program struct {
	file string
	sum  string
	size int64
}

func readProgram(file string) (_ program, err error) {
	if file == "" {
		if file, err = os.Executable(); err != nil {
			return program{}, fmt.Errorf("find the flocker program: %w", err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return program{}, fmt.Errorf("read the flocker program: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return program{}, fmt.Errorf("read the flocker program %s: %w", file, err)
	}
	return program{file: file, sum: hex.EncodeToString(h.Sum(nil)), size: size}, nil
}

// writeFiles says whether a machine's program or command lines were changed.
func (c *Cluster) writeFiles(ctx context.Context, n Node, children []supervisor.Child, p program, running bool) (changed bool, err error) {
	spec, err := encodeChildren(children)
	if err != nil {
		return false, err
	}
	before, err := c.readFile(ctx, n, supervisor.SpecFile)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(before, spec) {
		changed = true
		if err := c.CopyTo(ctx, n.Name, supervisor.SpecFile, spec, 0o644); err != nil {
			return false, err
		}
		config, err := engineConfig()
		if err != nil {
			return false, err
		}
		if err := c.CopyTo(ctx, n.Name, "/etc/docker/daemon.json", config, 0o644); err != nil {
			return false, err
		}
	}
	sum, err := c.readFile(ctx, n, programSum)
	if err != nil || strings.TrimSpace(string(sum)) == p.sum {
		return changed, err
	}
	return true, c.copyProgram(ctx, n, p, running)
}

// copyProgram replaces the program of a running machine in one step, since a child may start at any time.
func (c *Cluster) copyProgram(ctx context.Context, n Node, p program, running bool) (err error) {
	f, err := os.Open(p.file)
	if err != nil {
		return fmt.Errorf("read the flocker program: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	target := programPath
	if running {
		target += ".new"
	}
	if err := c.copyStream(ctx, n, target, f, p.size, 0o755); err != nil {
		return err
	}
	if running {
		if _, err := c.Exec(ctx, n.Name, "mv", target, programPath); err != nil {
			return err
		}
	}
	return c.CopyTo(ctx, n.Name, programSum, []byte(p.sum+"\n"), 0o644)
}

// others are the children that do not run our program.
var others = []string{"docker", ZFSDaemon, CephMon, CephOSD}

// restartOurs ends agent and control, which the supervisor then starts from the new program. The supervisor itself
// stays the old one until the node's next start.
func (c *Cluster) restartOurs(ctx context.Context, n Node) error {
	status, err := c.supervision(ctx, n)
	if err != nil {
		return err
	}
	for _, child := range status.Children {
		if child.PID != 0 && !slices.Contains(others, child.Name) {
			if err := c.signal(ctx, n, child, "TERM"); err != nil {
				return err
			}
		}
	}
	return nil
}
