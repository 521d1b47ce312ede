// SPDX-License-Identifier: Apache-2.0

package all

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/nbd"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// blockStore says where a block store is and who it is.
type blockStore struct {
	Store        string           `yaml:"store" doc:"the block store's host, or host:port"`
	Host         cluster.NodeID   `yaml:"storage_host" doc:"the node that the store's certificate names; otherwise it has the control service's"`
	Certificates string           `yaml:"certificates" doc:"the folder of what this node shows the store; otherwise the agent's own"`
	Reconnect    string           `yaml:"reconnect" doc:"how long requests wait for a store that is away"`
	Filesystem   string           `yaml:"filesystem" doc:"of new volumes: ext4, xfs or btrfs"`
	Profiles     backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, each with options of its own"`
}

func (n Node) openNBD(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	o := blockStore{Reconnect: nbd.DefaultReconnect.String()}
	if err := read(options, &o, &o.Profiles, block.ProfileOptions()); err != nil {
		return nil, err
	}
	reconnect, err := time.ParseDuration(o.Reconnect)
	if err != nil || reconnect < time.Second {
		return nil, fmt.Errorf("reconnect %q: %w: want a time of at least a second, such as 60s", o.Reconnect, cluster.ErrInvalid)
	}
	c, err := n.client(o)
	if err != nil {
		return nil, err
	}
	store, err := nbd.Open(nbd.Config{Client: c, Machine: string(n.ID), Reconnect: reconnect, Log: log})
	if err != nil {
		return nil, err
	}
	return block.New(ctx, store, block.Config{Filesystem: o.Filesystem, Profiles: o.Profiles, Log: log})
}

func (n Node) client(o blockStore) (*client.Client, error) {
	if o.Store == "" {
		return nil, fmt.Errorf("store: %w: the address of the block store is missing", cluster.ErrInvalid)
	}
	shown := n.Credentials
	if o.Certificates != "" {
		var err error
		if shown, err = pki.LoadCredentials(o.Certificates, pki.NodeName); err != nil {
			return nil, err
		}
	}
	if shown == nil || shown.Identity().Node != n.ID {
		return nil, fmt.Errorf("certificates: %w: want those of node %s", cluster.ErrInvalid, n.ID)
	}
	expect := pki.ExpectControl()
	if o.Host != "" {
		expect = pki.ExpectNode(o.Host)
	}
	return client.New(o.Store, pki.ClientTLS(shown, expect))
}
