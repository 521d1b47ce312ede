// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/devcluster/supervisor"
	"github.com/flocker-project/flocker/pki"
)

const (
	// devUserDir is where the administrator's configuration lies in the control's container.
	devUserDir = "/etc/flocker/user"
	// devFaultDir is where a drill puts a file to have the agent die at a point of a move.
	devFaultDir = "/run/flocker/faults"
	// backendNBD needs a block store, which is the control machine's child storeChild.
	backendNBD = "nbd"
	storeChild = "blockstore"
	// storeAway is long enough for a store that starts anew on the same machine.
	storeAway = "10s"
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
	if slices.Contains(d.kinds(), backendNBD) {
		if err := c.Enable(ctx, control.Name, storeChild); err != nil {
			return err
		}
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

// kinds are those of the back ends of the nodes that are made.
func (d *devCluster) kinds() []string {
	kinds := []string{d.backend}
	for _, further := range d.further {
		_, kind, _ := strings.Cut(further, "=")
		kinds = append(kinds, kind)
	}
	return kinds
}

// joinMachine makes a machine a node and starts its agent.
func (d *devCluster) joinMachine(ctx context.Context, c *devcluster.Cluster, n devcluster.Node) error {
	if _, err := c.Exec(ctx, n.Name, "test", "-e", "/etc/flocker/node.crt"); err != nil {
		if slices.Contains(d.kinds(), "zfs") {
			if err := c.Enable(ctx, n.Name, devcluster.ZFSDaemon); err != nil {
				return err
			}
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

// sharedOptions are what a back end that keeps data away from the nodes is to know in a development cluster.
func sharedOptions(backend string, control, n devcluster.Node) []string {
	switch backend {
	case "loopback":
		return []string{"root_path=" + devcluster.SharedFolder, "compute_instance_id=" + n.Name}
	case backendNBD:
		return []string{"store=" + control.Address.String(), "reconnect=" + storeAway}
	}
	return nil
}

// storeArgs are those of the block store beside the control service, whose certificate it shows.
func storeArgs(control devcluster.Node) []string {
	return []string{
		"blockstore", "serve", "--certificate", pki.ControlName, "--boot-id-file", supervisor.BootIDFile,
		"--listen", net.JoinHostPort(control.Address.String(), client.DefaultPort),
	}
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
