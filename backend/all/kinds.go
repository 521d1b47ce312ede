// SPDX-License-Identifier: Apache-2.0

package all

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/backend/loopback"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/backend/nbd"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/backend/zfs"
	"github.com/flocker-project/flocker/cluster"
)

// Kind is a back end that this program has.
type Kind struct {
	Name         string               `json:"name"`
	About        string               `json:"about"`
	Capabilities cluster.Capabilities `json:"capabilities"`
	// Varies says that what it can resize and fence depends on a driver that is a program of its own.
	Varies  bool     `json:"varies,omitempty"`
	Options []Option `json:"options"`
	// ProfileOptions are what each of its profiles may choose.
	ProfileOptions []Option `json:"profile_options,omitempty"`
}

// Option is a key under "dataset" in agent.yml, beside "backend".
type Option struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Default string `json:"default,omitempty"`
}

// described is what is known of a kind without opening one.
type described struct {
	about    string
	can      cluster.Capabilities
	varies   bool
	profiles []backend.ProfileOption
	needs    func(ctx context.Context, options func(into any) error) []api.Check
}

// sharingStore is what a store can whose snapshots depend on its filesystem, but for those.
type sharingStore interface {
	backend.Volumes
	backend.Evicter
	backend.Grower
}

// descriptions are of every kind that there is an opener of. What each can is read from its type, not said again.
func descriptions() map[string]described {
	network := func(store backend.Volumes) cluster.Capabilities { return block.AbilitiesOver(store) }
	sharing := func(store sharingStore) cluster.Capabilities {
		can := block.AbilitiesOver(struct{ sharingStore }{store})
		can.NoSnapshots = "where files share blocks"
		return can
	}
	return map[string]described{
		"btrfs": {
			about: "on the node's own disk; moves send what changed to the other node",
			can:   backend.CapabilitiesOf((*btrfs.Driver)(nil)), profiles: btrfs.ProfileOptions(), needs: needsOfBtrfs,
		},
		"external": {
			about: "volumes of a driver that is a program of its own, attached where they are used",
			can:   cluster.Capabilities{Attaches: true}, varies: true, profiles: block.ProfileOptions(), needs: needsOfExternal,
		},
		"loopback": {
			about: "files in a folder that all nodes share, attached where they are used",
			can:   sharing((*loopback.Store)(nil)), profiles: block.ProfileOptions(), needs: needsOfLoopback,
		},
		"mem": {
			about: "in memory, for trying things out; lost with the agent",
			can:   backend.CapabilitiesOf((*mem.Driver)(nil)), needs: needsOfMem,
		},
		"nbd": {
			about: "volumes of a block store that a host of yours serves, attached where they are used",
			can:   sharing((*nbd.Store)(nil)), profiles: block.ProfileOptions(), needs: needsOfNBD,
		},
		"rbd": {
			about: "images of a Ceph cluster, attached where they are used",
			can:   network((*rbd.Store)(nil)), profiles: profilesOfRBD(), needs: needsOfRBD,
		},
		"zfs": {
			about: "on the node's own ZFS pool; moves send what changed to the other node",
			can:   backend.CapabilitiesOf((*zfs.Driver)(nil)), profiles: zfs.ProfileOptions(), needs: needsOfZFS,
		},
	}
}

// Kinds are the back ends that Open knows.
func Kinds(ctx context.Context) ([]Kind, error) {
	var kinds []Kind
	for _, o := range openers(Node{}) {
		options, err := o.options(ctx)
		if err != nil {
			return nil, err
		}
		d := descriptions()[o.name]
		k := Kind{Name: o.name, About: d.about, Capabilities: d.can, Varies: d.varies, Options: options}
		for _, p := range d.profiles {
			k.ProfileOptions = append(k.ProfileOptions, Option{Name: p.Name, About: p.About})
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

var errListed = errors.New("options are only listed")

// options are those that the opener decodes, with what it sets before.
func (o opener) options(ctx context.Context) ([]Option, error) {
	options := []Option{}
	list := func(into any) error {
		at := reflect.ValueOf(into).Elem()
		for _, field := range reflect.VisibleFields(at.Type()) {
			name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			option := Option{Name: name, About: field.Tag.Get("doc")}
			if v := at.FieldByIndex(field.Index); !v.IsZero() {
				option.Default = fmt.Sprint(v.Interface())
			}
			options = append(options, option)
		}
		return errListed
	}
	// No storage is opened: each kind reads its options first, and is told then to go no further.
	driver, err := o.open(ctx, list, slog.New(slog.DiscardHandler))
	if !errors.Is(err, errListed) {
		return nil, fmt.Errorf("list the options of back end %s: it opened %T, %w", o.name, driver, err)
	}
	return options, nil
}

// Check looks for what a back end needs on this machine.
func Check(ctx context.Context, name string, options func(into any) error) []api.Check {
	if needs := descriptions()[name].needs; needs != nil {
		return needs(ctx, options)
	}
	return nil
}
