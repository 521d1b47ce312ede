// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// engine is the runtime with every stop of ours noted, whoever asks for it, and with what a container that comes or goes here must not
// cost: the connections that this node's ports lead to its application on another node.
type engine struct {
	container.Engine
	lives  *lives
	keep   keeping
	mirror *mirror
}

// keeping keeps connections while something is done to a container with the application's address.
type keeping interface {
	Keep(ctx context.Context, addr netip.Addr, do func() error) error
}

func (e engine) Create(ctx context.Context, spec container.Spec) (made cluster.Container, err error) {
	err = e.keep.Keep(ctx, spec.Address, func() (err error) {
		made, err = e.Engine.Create(ctx, spec)
		return err
	})
	return made, err
}

func (e engine) Stop(ctx context.Context, app, signal string, timeout time.Duration) error {
	e.lives.stopping(app)
	return e.Engine.Stop(ctx, app, signal, timeout)
}

func (e engine) Remove(ctx context.Context, app string) error {
	desired, _ := e.mirror.read()
	addr, err := netip.ParseAddr(desired.Applications[app].Address)
	if err != nil { // it is not to be anywhere any more
		return e.Engine.Remove(ctx, app)
	}
	return e.keep.Keep(ctx, addr, func() error { return e.Engine.Remove(ctx, app) })
}
