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

// overStore is the whole stack of network storage. What is done around each call of the store depends on the store: one
// behind an API has block.Retry and block.Limit here, a folder has nothing.
func overStore(ctx context.Context, store backend.Volumes, filesystem string, log *slog.Logger, around ...backend.Around) (backend.Driver, error) {
	return block.New(ctx, store, block.Config{Filesystem: filesystem, Around: around, Log: log})
}

type loopbackOptions struct {
	Root       string `yaml:"root_path" doc:"the folder that all nodes share"`
	Machine    string `yaml:"compute_instance_id" doc:"this node's name in it; the node's UUID when empty"`
	Filesystem string `yaml:"filesystem" doc:"of new volumes: ext4, xfs or btrfs"`
}

func (n Node) openLoopback(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	var o loopbackOptions
	if err := options(&o); err != nil {
		return nil, err
	}
	store, err := loopback.Open(loopback.Config{Root: o.Root, Machine: cmp.Or(o.Machine, string(n.ID)), Cluster: n.Cluster})
	if err != nil {
		return nil, err
	}
	return overStore(ctx, store, o.Filesystem, log)
}
