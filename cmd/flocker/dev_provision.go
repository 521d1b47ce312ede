// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/pki"
)

const (
	// devUserDir is where the administrator's configuration lies in the control's container.
	devUserDir = "/etc/flocker/user"
	// devFaultDir is where a drill puts a file to have the agent die at a point of a move.
	devFaultDir = "/run/flocker/faults"
	// controlStart bounds the wait for the control service of a development cluster.
	controlStart = 30 * time.Second
)

// provision makes a development cluster's machines a Flocker cluster, as an operator
// would: init on one, a token, join on the others. What is done already stays.
func (d *devCluster) provision(ctx context.Context, c *devcluster.Cluster) error {
	control := c.Control()
	_, err := c.Exec(ctx, control.Name, "flocker", "init", "--control-only", "--no-start",
		"--name", c.Name(), "--address", control.Address.String(), "--user-config-dir", devUserDir)
	if err != nil {
		return err
	}
	if err := c.Enable(ctx, control.Name, "control"); err != nil {
		return err
	}
	if err := d.startStores(ctx, c); err != nil {
		return err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	g, joining := errgroup.WithContext(ctx)
	for _, n := range nodes {
		if !n.IsControl() {
			g.Go(func() error { return d.joinMachine(joining, c, n) })
		}
	}
	g.Go(func() error { return d.keepUser(joining, c) })
	return g.Wait()
}

// joinMachine makes a machine a node and starts its agent.
func (d *devCluster) joinMachine(ctx context.Context, c *devcluster.Cluster, n devcluster.Node) error {
	if _, err := c.Exec(ctx, n.Name, "test", "-e", "/etc/flocker/node.crt"); err != nil {
		if err := d.connectToStores(ctx, c, n.Name); err != nil {
			return err
		}
		token, err := awaitToken(ctx, c)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		join := []string{"flocker", "join", "--no-start", "--name", n.Name, "--address", n.Address.String(), "--backend", d.backend}
		options := sharedOptions(d.backend, c.Control(), n)
		for _, further := range d.further {
			join = append(join, "--further-backend", further)
			name, kind, _ := strings.Cut(further, "=")
			for _, option := range sharedOptions(kind, c.Control(), n) {
				options = append(options, name+"."+option)
			}
		}
		for _, option := range append(options, d.options...) {
			join = append(join, "--backend-option", option)
		}
		err = c.Stream(ctx, n.Name, devcluster.Streams{Stdin: bytes.NewReader(token), Stdout: &out, Stderr: &out}, append(join, "-")...)
		if err != nil {
			return errors.Join(err, errors.New(strings.TrimSpace(out.String())))
		}
	}
	return c.Enable(ctx, n.Name, "agent")
}

// awaitToken asks for a join token until the control service answers.
func awaitToken(ctx context.Context, c *devcluster.Cluster) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, controlStart)
	defer cancel()
	for {
		token, err := c.Exec(ctx, c.Control().Name, "flocker", "token", "create", "--user-config-dir", devUserDir)
		if err == nil {
			return token, nil
		}
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil, fmt.Errorf("the control service does not answer, see flocker dev logs control: %w", err)
		case <-pause.C:
		}
	}
}

// devConfigDir is where the host keeps the administrator's configuration of a development cluster.
func devConfigDir(name string) (string, error) {
	dir, err := userConfigDir()
	return filepath.Join(dir, "dev-"+name), err
}

// keepUser copies the administrator's configuration to this host.
func (d *devCluster) keepUser(ctx context.Context, c *devcluster.Cluster) error {
	dir, err := devConfigDir(d.name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the administrator's configuration: %w", err)
	}
	user := pki.FilesIn(dir, pki.UserName)
	for _, path := range []string{user.CA, user.Cert, user.Key, filepath.Join(dir, userConfigFile)} {
		content, err := c.Exec(ctx, c.Control().Name, "cat", devUserDir+"/"+filepath.Base(path))
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("keep the administrator's configuration: %w", err)
		}
	}
	return nil
}

// forgetUser removes what keepUser kept: certificates of a cluster that is no more.
func (d *devCluster) forgetUser() error {
	dir, err := devConfigDir(d.name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the administrator's configuration: %w", err)
	}
	return nil
}
