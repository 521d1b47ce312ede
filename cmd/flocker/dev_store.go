// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"strings"

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

// kinds are those of the back ends of the nodes that are made.
func (d *devCluster) kinds() []string {
	kinds := []string{d.backend}
	for _, further := range d.further {
		_, kind, _ := strings.Cut(further, "=")
		kinds = append(kinds, kind)
	}
	return kinds
}

// startStores starts the stores that keep the data of back ends, where they are services.
func (d *devCluster) startStores(ctx context.Context, c *devcluster.Cluster) error {
	for _, kind := range d.kinds() {
		var err error
		switch kind {
		case backendNBD:
			err = c.Enable(ctx, c.Control().Name, storeChild)
		case backendRBD:
			err = c.StartCeph(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// connectToStores lets a node use what its back ends need beside the agent.
func (d *devCluster) connectToStores(ctx context.Context, c *devcluster.Cluster, node string) error {
	for _, kind := range d.kinds() {
		var err error
		switch kind {
		case "zfs":
			err = c.Enable(ctx, node, devcluster.ZFSDaemon)
		case backendRBD:
			err = c.ConnectToCeph(ctx, node)
		}
		if err != nil {
			return err
		}
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
