// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"

	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/devcluster/supervisor"
	"github.com/flocker-project/flocker/pki"
)

// Back ends whose store is a service of the development cluster, on the control's machine.
const (
	backendNBD = "nbd"
	backendRBD = "rbd"
)

const (
	// storeChild is the block store that backendNBD needs.
	storeChild = "blockstore"
	// storeAway is long enough for a store that starts anew on the same machine.
	storeAway = "10s"
)

// startStore starts the store that keeps the data of a back end, where it is a service.
func (d *devCluster) startStore(ctx context.Context, c *devcluster.Cluster) error {
	switch d.backend {
	case backendNBD:
		return c.Enable(ctx, c.Control().Name, storeChild)
	case backendRBD:
		return c.StartCeph(ctx)
	}
	return nil
}

// connectToStore lets a node use what a back end needs beside the agent.
func (d *devCluster) connectToStore(ctx context.Context, c *devcluster.Cluster, node string) error {
	switch d.backend {
	case "zfs":
		return c.Enable(ctx, node, devcluster.ZFSDaemon)
	case backendRBD:
		return c.ConnectToCeph(ctx, node)
	}
	return nil
}

// sharedOptions are what a back end that keeps data away from the nodes is to know in a development cluster.
func sharedOptions(backend string, control, n devcluster.Node) []string {
	switch backend {
	case "loopback":
		return []string{"root_path=" + devcluster.SharedFolder, "compute_instance_id=" + n.Name}
	case backendNBD:
		return []string{"store=" + control.Address.String(), "reconnect=" + storeAway}
	case backendRBD:
		return []string{"pool=" + devcluster.CephPool, "user=" + devcluster.CephUser}
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
