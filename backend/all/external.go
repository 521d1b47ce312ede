// SPDX-License-Identifier: Apache-2.0

package all

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/external"
	"github.com/flocker-project/flocker/cluster"
)

type externalOptions struct {
	Socket     string           `yaml:"socket" doc:"absolute path of the driver's socket"`
	Timeout    string           `yaml:"timeout" doc:"how long a call of the driver may take"`
	Filesystem string           `yaml:"filesystem" doc:"of new volumes: ext4, xfs or btrfs"`
	Profiles   backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, each with options of its own"`
}

func (n Node) openExternal(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	o := externalOptions{Timeout: external.DefaultTimeout.String()}
	if err := read(options, &o, &o.Profiles, block.ProfileOptions()); err != nil {
		return nil, err
	}
	timeout, err := time.ParseDuration(o.Timeout)
	if err != nil || timeout < time.Second {
		return nil, fmt.Errorf("timeout %q: %w: want a time of at least a second, such as 2m", o.Timeout, cluster.ErrInvalid)
	}
	retry := block.Retry(block.DefaultPatience(), log)
	var store backend.Volumes
	err = retry(ctx, backend.StoreCall{Op: "greeting"}, func(ctx context.Context) (err error) { // both may be starting
		store, err = external.Open(ctx, external.Config{Socket: o.Socket, Cluster: n.Cluster, Timeout: timeout})
		return err
	})
	if err != nil {
		return nil, err
	}
	return block.New(ctx, store, block.Config{Filesystem: o.Filesystem, Profiles: o.Profiles, Around: []backend.Around{retry}, Log: log})
}
