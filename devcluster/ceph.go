// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// The daemons of the Ceph on the control's machine, which run once StartCeph has been called.
const (
	CephMon = "ceph-mon"
	CephOSD = "ceph-osd"
)

// CephPool and CephUser are what that Ceph has for the nodes.
const (
	CephPool = "flocker"
	CephUser = "flocker"
)

const (
	cephScript = "/usr/local/lib/flocker-dev/ceph.sh"
	cephFolder = "/var/lib/flocker/ceph"
	// cephStart bounds the wait for a Ceph that is made anew.
	cephStart = 2 * time.Minute
)

func cephChildren(control Node) []supervisor.Child {
	child := func(name string, args ...string) supervisor.Child {
		return supervisor.Child{Name: name, Command: append([]string{"/bin/sh", cephScript}, args...), Gated: true}
	}
	return []supervisor.Child{child(CephMon, "mon", control.Address.String()), child(CephOSD, "osd")}
}

// StartCeph starts the Ceph of the cluster and waits until it has its pool.
func (c *Cluster) StartCeph(ctx context.Context) error {
	control := c.Control().Name
	if _, err := c.Exec(ctx, control, "test", "-e", cephScript); err != nil {
		return fmt.Errorf("cluster %s was made without Ceph: flocker dev down, then up, makes it with it: %w", c.name, err)
	}
	for _, daemon := range []string{CephMon, CephOSD} {
		if err := c.Enable(ctx, control, daemon); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cephStart)
	defer cancel()
	if _, err := c.Exec(ctx, control, "sh", cephScript, "pool"); err != nil {
		return fmt.Errorf("make Ceph's pool, see flocker dev logs control %s: %w", CephOSD, err)
	}
	return nil
}

// ConnectToCeph gives a node what it needs to use Ceph as CephUser.
func (c *Cluster) ConnectToCeph(ctx context.Context, node string) error {
	if _, err := c.Exec(ctx, node, "test", "-e", cephScript); err != nil {
		return fmt.Errorf("%s was made without Ceph: flocker dev down, then up, makes it with it: %w", node, err)
	}
	for file, place := range map[string]string{
		"nodes.conf": "/etc/ceph/ceph.conf",
		"nodes.key":  "/etc/ceph/ceph.client." + CephUser + ".keyring",
	} {
		content, err := c.Exec(ctx, c.Control().Name, "cat", cephFolder+"/"+file)
		if err != nil {
			return err
		}
		if err := c.CopyTo(ctx, node, place, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
