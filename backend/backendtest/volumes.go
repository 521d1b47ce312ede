// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest/contract"
)

// Store is a store of network volumes under test, which two machines share.
type Store interface {
	// Machine opens the store as a process that starts on the first or the second machine does.
	Machine(t *testing.T, i int) backend.Volumes
	// OtherCluster opens the store for another cluster, nil where each has a store of its own.
	OtherCluster(t *testing.T) backend.Volumes
	// Mounts is a folder for mount points, which goes away with the test and all that is in it.
	Mounts(t *testing.T) string
	// Smallest is the size of the smallest volume that a filesystem fits into.
	Smallest() int64
	// Layer opens backend/block over a store, nil where the devices have nothing behind them.
	Layer(t *testing.T, store backend.Volumes, around ...backend.Around) backend.Driver
	Tamperer
}

// Tamperer does with a store what its own tools can.
type Tamperer interface {
	// Foreign puts things into the store that are nobody's; intact says whether all are still there.
	Foreign(t *testing.T) (intact func() error)
	// Vanish removes a volume behind everybody's back.
	Vanish(t *testing.T, v backend.Volume)
	// Twin makes another volume that is marked as the dataset's; false where the store cannot have two.
	Twin(t *testing.T, v backend.Volume) bool
}

// RunVolumes runs the contract of stores and then, where the devices are real, of backend/block over the store.
func RunVolumes(t *testing.T, open func(t *testing.T) Store) {
	contract.Volumes(check{t}, func(t contract.T) contract.Store { return tested{open(plain(t))} })
}

// check lets the contract's checks run as tests.
type check struct{ *testing.T }

func (c check) Run(name string, f func(contract.T)) bool {
	return c.T.Run(name, func(t *testing.T) { f(check{t}) })
}

// plain is the test behind a check.
func plain(t contract.T) *testing.T { return t.(check).T } //nolint:forcetypeassert // RunVolumes makes no others

// tested is a store of tests, for the contract's checks.
type tested struct{ store Store }

func (s tested) Machines() int                               { return 2 }
func (s tested) Machine(t contract.T, i int) backend.Volumes { return s.store.Machine(plain(t), i) }

func (s tested) OtherCluster(t contract.T) backend.Volumes       { return s.store.OtherCluster(plain(t)) }
func (s tested) Mounts(t contract.T) string                      { return s.store.Mounts(plain(t)) }
func (s tested) Smallest() int64                                 { return s.store.Smallest() }
func (s tested) Foreign(t contract.T) func() error               { return s.store.Foreign(plain(t)) }
func (s tested) Vanish(t contract.T, v backend.Volume)           { s.store.Vanish(plain(t), v) }
func (s tested) Twin(t contract.T, v backend.Volume) (made bool) { return s.store.Twin(plain(t), v) }

func (s tested) Layer(t contract.T, v backend.Volumes, around ...backend.Around) backend.Driver {
	return s.store.Layer(plain(t), v, around...)
}
