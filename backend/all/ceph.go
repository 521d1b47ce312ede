// SPDX-License-Identifier: Apache-2.0

package all

import (
	"context"
	"log/slog"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/rbd"
)

// pool says which of Ceph's pools it is and how to get to it.
type pool struct {
	Pool       string           `yaml:"pool" doc:"Ceph's pool"`
	Conf       string           `yaml:"conf" doc:"Ceph's configuration file"`
	User       string           `yaml:"user" doc:"Ceph's user, without \"client.\""`
	Keyring    string           `yaml:"keyring" doc:"the user's key; otherwise where Ceph looks for it"`
	Size       size             `yaml:"default_size" doc:"of a volume for which none was asked"`
	Filesystem string           `yaml:"filesystem" doc:"of new volumes: ext4, xfs or btrfs"`
	Profiles   backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, each with options of its own"`
}

func (n Node) openRBD(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	var o pool
	if err := read(options, &o, &o.Profiles, profilesOfRBD()); err != nil {
		return nil, err
	}
	store, err := rbd.Open(rbd.Config{
		Pool: o.Pool, Conf: o.Conf, User: o.User, Keyring: o.Keyring, Size: int64(o.Size),
		Machine: string(n.ID), Cluster: n.Cluster, Profiles: o.Profiles, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return block.New(ctx, store, block.Config{
		Filesystem: o.Filesystem, Profiles: o.Profiles, Around: []backend.Around{block.Retry(block.DefaultPatience(), log)}, Log: log,
	})
}
