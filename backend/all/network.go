// SPDX-License-Identifier: Apache-2.0

package all

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/loopback"
)

type loopbackOptions struct {
	Root       string           `yaml:"root_path" doc:"the folder that all nodes share"`
	Machine    string           `yaml:"compute_instance_id" doc:"this node's name in it; the node's UUID when empty"`
	Filesystem string           `yaml:"filesystem" doc:"of new volumes: ext4, xfs or btrfs"`
	Profiles   backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, each with options of its own"`
}

func (n Node) openLoopback(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	var o loopbackOptions
	if err := read(options, &o, &o.Profiles, block.ProfileOptions()); err != nil {
		return nil, err
	}
	store, err := loopback.Open(loopback.Config{Root: o.Root, Machine: cmp.Or(o.Machine, string(n.ID)), Cluster: n.Cluster})
	if err != nil {
		return nil, err
	}
	return block.New(ctx, store, block.Config{Filesystem: o.Filesystem, Profiles: o.Profiles, Log: log})
}
