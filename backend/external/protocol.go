// SPDX-License-Identifier: Apache-2.0

// Package external uses storage drivers that are programs of their own, in any language, over a Unix socket. The
// protocol is in docs/backends/external.md.
package external

import (
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Protocol is the version of the protocol that this program speaks.
const Protocol = 1

// The most that is read of an answer.
const (
	maxListing = 64 << 20
	maxAnswer  = 1 << 20
)

// request is the body of every call. What a call does not need is left out.
type request struct {
	Cluster string `json:"cluster"`
	Timeout int64  `json:"timeout_ms"` // whoever asks waits no longer

	Dataset cluster.DatasetID `json:"dataset,omitempty"` // create
	Profile string            `json:"profile,omitempty"` // create
	Size    int64             `json:"size,omitempty"`    // create, grow
	Volume  *volume           `json:"volume,omitempty"`  // all that are of one volume
	Machine string            `json:"machine,omitempty"` // evict
}

// volume is backend.Volume in the protocol's words.
type volume struct {
	ID      string            `json:"id"`
	Dataset cluster.DatasetID `json:"dataset"`
	Size    int64             `json:"size"`
	Profile string            `json:"profile,omitempty"`
	Machine string            `json:"machine,omitempty"`
}

func toWire(v backend.Volume) *volume {
	return &volume{ID: v.ID, Dataset: v.Dataset, Size: v.Size, Profile: v.Profile, Machine: v.Machine}
}

func (v volume) plain() backend.Volume {
	return backend.Volume{ID: v.ID, Dataset: v.Dataset, Size: v.Size, Profile: v.Profile, Machine: v.Machine}
}

// Greeting is what a driver says of itself.
type Greeting struct {
	Protocol  int       `json:"protocol"`
	Driver    string    `json:"driver"`  // its name and version, for people
	Machine   string    `json:"machine"` // this machine's name in the store
	Abilities []Ability `json:"abilities,omitempty"`
	// Profiles are those that create takes.
	Profiles []string `json:"profiles,omitempty"`
}

// Ability is something that not every driver can.
type Ability string

// Abilities that this program has a use for; a driver may have others.
const (
	AbilityEvict Ability = "evict"
	AbilityFence Ability = "fence" // as backend.Evicter's Fences
	AbilityGrow  Ability = "grow"
)

// The answers; a pointer says whether the field was there.
type (
	volumeAnswer struct {
		Volume *volume `json:"volume"`
	}
	volumesAnswer struct {
		Volumes *[]volume `json:"volumes"`
	}
	deviceAnswer struct {
		Device *string `json:"device"`
	}
	devicesAnswer struct {
		Devices *map[string]string `json:"devices"`
	}
	nothingAnswer struct{}
)
