// SPDX-License-Identifier: Apache-2.0

// Package all lists the storage back ends.
package all

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// opener opens one kind of storage. options decodes what the operator wrote into a struct with yaml tags.
type opener struct {
	name string
	open func(ctx context.Context, options func(into any) error, log *slog.Logger) (backend.Driver, error)
}

// Node is who opens a back end.
type Node struct {
	ID      cluster.NodeID
	Cluster string // its UUID
	// Credentials are what the node shows to a store that is part of the cluster.
	Credentials *pki.Credentials
}

func openers(node Node) []opener {
	return []opener{
		{"btrfs", openBtrfs},
		{"loopback", node.openLoopback},
		{"mem", openMem},
		{"nbd", node.openNBD},
		{"rbd", node.openRBD},
	}
}

// Names are the back ends that Open knows.
func Names() []string {
	var names []string
	for _, o := range openers(Node{}) {
		names = append(names, o.name)
	}
	return names
}

// Open opens the back end of that name. options decodes the operator's options into a struct with yaml tags, and fails
// for those that the struct does not have.
func Open(ctx context.Context, node Node, name string, options func(into any) error, log *slog.Logger) (backend.Driver, error) {
	for _, o := range openers(node) {
		if o.name != name {
			continue
		}
		driver, err := o.open(ctx, options, log)
		if err != nil {
			return nil, fmt.Errorf("open back end %s: %w", name, err)
		}
		return driver, nil
	}
	return nil, fmt.Errorf("back end %q: %w: there are %s", name, cluster.ErrInvalid, strings.Join(Names(), ", "))
}

func openBtrfs(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	var o struct {
		Path    string `yaml:"path"`    // a folder of an existing btrfs filesystem, instead of all the others
		File    string `yaml:"file"`    // the pool's file
		Mount   string `yaml:"mount"`   // where the pool is mounted
		Initial size   `yaml:"initial"` // its size when it is made
		Limit   size   `yaml:"limit"`   // its largest size
		Reserve size   `yaml:"reserve"` // what it leaves free on the filesystem below
	}
	if err := options(&o); err != nil {
		return nil, err
	}
	return btrfs.Open(ctx, btrfs.Config{
		Path: o.Path, File: o.File, Mount: o.Mount,
		Initial: int64(o.Initial), Limit: int64(o.Limit), Reserve: int64(o.Reserve),
	}, log)
}

func openMem(_ context.Context, options func(any) error, _ *slog.Logger) (backend.Driver, error) {
	o := struct {
		Total size `yaml:"total"`
	}{Total: 1 << 40}
	if err := options(&o); err != nil {
		return nil, err
	}
	return mem.New(int64(o.Total)), nil
}
