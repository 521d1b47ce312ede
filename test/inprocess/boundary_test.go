// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/flocker-project/flocker/agent"
	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/network"
)

// engine is the runtime as one process of the agent reaches it.
type engine struct {
	container.Engine
	p *process
}

// do makes a call while the process lives and the runtime is there.
func (e engine) do(op string, call func() error) error {
	defer e.p.effect(op)()
	if e.p.node.docker.Load() {
		return errAway
	}
	return call()
}

func (e engine) Create(ctx context.Context, spec container.Spec) (c cluster.Container, err error) {
	err = e.do("Create", func() error { c, err = e.Engine.Create(ctx, spec); return err })
	return c, err
}

func (e engine) Start(ctx context.Context, application string) error {
	return e.do("Start", func() error { return e.Engine.Start(ctx, application) })
}

func (e engine) Stop(ctx context.Context, application, signal string, timeout time.Duration) error {
	return e.do("Stop", func() error { return e.Engine.Stop(ctx, application, signal, timeout) })
}

func (e engine) Remove(ctx context.Context, application string) error {
	return e.do("Remove", func() error { return e.Engine.Remove(ctx, application) })
}

func (e engine) List(ctx context.Context) (all []container.Found, err error) {
	err = e.do("List", func() error { all, err = e.Engine.List(ctx); return err })
	return all, err
}

// Events connects again by itself, as the real one does: a runtime that is away when an agent starts does not end the agent.
func (e engine) Events(ctx context.Context) (<-chan struct{}, error) {
	defer e.p.effect("Events")()
	return e.Engine.Events(ctx)
}

func (e engine) HasImage(ctx context.Context, ref string) (id string, size int64, err error) {
	err = e.do("HasImage", func() error { id, size, err = e.Engine.HasImage(ctx, ref); return err })
	return id, size, err
}

func (e engine) Pull(ctx context.Context, ref string) error {
	return e.do("Pull", func() error { return e.Engine.Pull(ctx, ref) })
}

func (e engine) Export(ctx context.Context, ref string, w io.Writer) error {
	return e.do("Export", func() error { return e.Engine.Export(ctx, ref, w) })
}

func (e engine) Import(ctx context.Context, r io.Reader) error {
	return e.do("Import", func() error { return e.Engine.Import(ctx, r) })
}

func (e engine) Exec(ctx context.Context, application string, command []string) (code int, output string, err error) {
	err = e.do("Exec", func() error { code, output, err = e.Engine.Exec(ctx, application, command); return err })
	return code, output, err
}

func (e engine) Logs(ctx context.Context, application string, lines int) (text string, err error) {
	err = e.do("Logs", func() error { text, err = e.Engine.Logs(ctx, application, lines); return err })
	return text, err
}

func (e engine) Pause(ctx context.Context, application string) error {
	return e.do("Pause", func() error { return e.Engine.Pause(ctx, application) })
}

func (e engine) Unpause(ctx context.Context, application string) error {
	return e.do("Unpause", func() error { return e.Engine.Unpause(ctx, application) })
}

func (e engine) Join(ctx context.Context, config container.NetworkConfig) error {
	return e.do("Join", func() error { return e.Engine.Join(ctx, config) })
}

func (e engine) SetHosts(ctx context.Context, application string, hosts map[string]netip.Addr) error {
	return e.do("SetHosts", func() error { return e.Engine.SetHosts(ctx, application, hosts) })
}

// wires is the node's network as one process of the agent reaches it.
type wires struct {
	agent.Network
	p *process
}

func (w wires) Join(ctx context.Context, f network.Fabric) error {
	defer w.p.effect("Join")()
	return w.Network.Join(ctx, f)
}

func (w wires) Live(ctx context.Context, addrs []netip.Addr) error {
	defer w.p.effect("Live")()
	return w.Network.Live(ctx, addrs)
}

func (w wires) Lives(ctx context.Context) ([]netip.Addr, error) {
	defer w.p.effect("Lives")()
	return w.Network.Lives(ctx)
}

func (w wires) Enliven(ctx context.Context, addr netip.Addr) error {
	defer w.p.effect("Enliven")()
	return w.Network.Enliven(ctx, addr)
}

func (w wires) Deaden(ctx context.Context, addr netip.Addr) error {
	defer w.p.effect("Deaden")()
	return w.Network.Deaden(ctx, addr)
}

func (w wires) Hold(ctx context.Context, addr netip.Addr, limit time.Duration) error {
	defer w.p.effect("Hold")()
	return w.Network.Hold(ctx, addr, limit)
}

func (w wires) Confine(ctx context.Context, addrs []netip.Addr) error {
	defer w.p.effect("Confine")()
	return w.Network.Confine(ctx, addrs)
}

func (w wires) Confined(ctx context.Context) ([]netip.Addr, error) {
	defer w.p.effect("Confined")()
	return w.Network.Confined(ctx)
}

func (w wires) Ask(ctx context.Context, limit time.Duration) error {
	defer w.p.effect("Ask")()
	return w.Network.Ask(ctx, limit)
}

func (w wires) Allow(ctx context.Context, addrs []netip.Addr, limit time.Duration) error {
	defer w.p.effect("Allow")()
	return w.Network.Allow(ctx, addrs, limit)
}

func (w wires) SetGate(ctx context.Context, netns string, open bool) error {
	defer w.p.effect("SetGate")()
	return w.Network.SetGate(ctx, netns, open)
}

func (w wires) GateOpen(ctx context.Context, netns string) (bool, error) {
	defer w.p.effect("GateOpen")()
	return w.Network.GateOpen(ctx, netns)
}

func (w wires) DialInside(ctx context.Context, netns string, port int) error {
	defer w.p.effect("DialInside")()
	return w.Network.DialInside(ctx, netns, port)
}

func (w wires) TalkInside(ctx context.Context, netns string, port int, talk func(net.Conn) error) error {
	defer w.p.effect("TalkInside")()
	return w.Network.TalkInside(ctx, netns, port, talk)
}

func (w wires) Listening(ctx context.Context) (map[network.Port]string, error) {
	defer w.p.effect("Listening")()
	return w.Network.Listening(ctx)
}

func (w wires) Publish(ctx context.Context, set []network.Publication) error {
	defer w.p.effect("Publish")()
	return w.Network.Publish(ctx, set)
}

// line is the way to the control service as one process of the agent reaches it.
type line struct {
	*api.AgentClient
	p *process
}

func (c line) OpenSession(ctx context.Context, r api.SessionRequest) (api.Session, error) {
	defer c.p.effect("OpenSession")()
	return c.AgentClient.OpenSession(ctx, r)
}

func (c line) Watch(ctx context.Context, session string, from cluster.Revision, deliver func(api.WatchEvent) error) error {
	defer c.p.effect("Watch")()
	return c.AgentClient.Watch(ctx, session, from, func(e api.WatchEvent) error {
		err := deliver(e)
		if e.Full != nil {
			c.p.node.comeTo("read")
		}
		return err
	})
}

func (c line) Report(ctx context.Context, r api.ObservedReport) error {
	defer c.p.effect("Report")()
	select {
	case <-time.After(time.Duration(c.p.node.w.slow.Load())):
	case <-ctx.Done():
	}
	return c.AgentClient.Report(ctx, r)
}

func (c line) Transition(ctx context.Context, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	defer c.p.effect("Transition")()
	if take := c.p.node.asked(t.Action); take != nil {
		take(func() error {
			_, err := c.AgentClient.Transition(context.WithoutCancel(ctx), id, t)
			return err
		})
		c.p.pass()
	}
	return c.AgentClient.Transition(ctx, id, t)
}

func (c line) ReportSnapshots(ctx context.Context, r api.SnapshotReport) (api.SnapshotReply, error) {
	defer c.p.effect("ReportSnapshots")()
	return c.AgentClient.ReportSnapshots(ctx, r)
}

func (c line) Renew(ctx context.Context, r api.RenewRequest) (api.RenewReply, error) {
	defer c.p.effect("Renew")()
	return c.AgentClient.Renew(ctx, r)
}

func (c line) Progress(ctx context.Context, p cluster.MoveProgress) error {
	defer c.p.effect("Progress")()
	return c.AgentClient.Progress(ctx, p)
}
