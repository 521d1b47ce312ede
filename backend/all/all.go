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
	"github.com/flocker-project/flocker/backend/zfs"
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
		{"external", node.openExternal},
		{"loopback", node.openLoopback},
		{"mem", openMem},
		{"nbd", node.openNBD},
		{"rbd", node.openRBD},
		{"zfs", openZFS},
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

type btrfsOptions struct {
	Path     string           `yaml:"path" doc:"a folder of an existing btrfs filesystem, instead of all the others"`
	File     string           `yaml:"file" doc:"the pool's file"`
	Mount    string           `yaml:"mount" doc:"where the pool is mounted"`
	Initial  size             `yaml:"initial" doc:"the pool's size when it is made"`
	Limit    size             `yaml:"limit" doc:"the pool's largest size"`
	Reserve  size             `yaml:"reserve" doc:"what the pool leaves free on the filesystem below"`
	Profiles backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, each with options of its own"`
}

func openBtrfs(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	var o btrfsOptions
	if err := read(options, &o, &o.Profiles, btrfs.ProfileOptions()); err != nil {
		return nil, err
	}
	return btrfs.Open(ctx, btrfs.Config{
		Path: o.Path, File: o.File, Mount: o.Mount,
		Initial: int64(o.Initial), Limit: int64(o.Limit), Reserve: int64(o.Reserve), Profiles: o.Profiles,
	}, log)
}

type memOptions struct {
	Total    size             `yaml:"total" doc:"how much it pretends to have room for"`
	Profiles backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, which have no options here"`
}

func openMem(_ context.Context, options func(any) error, _ *slog.Logger) (backend.Driver, error) {
	o := memOptions{Total: 1 << 40}
	if err := read(options, &o, &o.Profiles, nil); err != nil {
		return nil, err
	}
	driver := mem.New(int64(o.Total))
	driver.Offer(o.Profiles)
	return driver, nil
}

type zfsOptions struct {
	Pool      string           `yaml:"pool" doc:"a pool, or a filesystem in one"`
	MountRoot string           `yaml:"mount_root" doc:"where heads are mounted while they are made"`
	Profiles  backend.Profiles `yaml:"profiles" doc:"names for ways of making datasets, each with options of its own"`
}

func openZFS(ctx context.Context, options func(any) error, log *slog.Logger) (backend.Driver, error) {
	var o zfsOptions
	if err := read(options, &o, &o.Profiles, zfs.ProfileOptions()); err != nil {
		return nil, err
	}
	return zfs.Open(ctx, zfs.Config{Pool: o.Pool, MountRoot: o.MountRoot, Profiles: o.Profiles}, log)
}
