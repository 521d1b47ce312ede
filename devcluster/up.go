// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// nodeStart bounds how long a node may take until its engine answers.
const nodeStart = 60 * time.Second

// Options say what Up makes.
type Options struct {
	Name  string
	Nodes int
	// Link is a rate such as 1gbit for every node's link; empty leaves the links as they are.
	Link string
	// IPv6 gives the machines of a new cluster IPv6 addresses too. This machine must have it.
	IPv6 bool
	// Binary is the flocker program that the nodes run; empty is the one that runs now.
	Binary string
	// AgentArgs and ControlArgs are what follows the word flocker in the command lines of a node's agent and of the
	// control; nil ones are not run. All start once Enable has been called for them.
	AgentArgs, ControlArgs func(Node) []string
	// StoreArgs are those of the block store on the control's machine.
	StoreArgs func(Node) []string
	// Ceph has the machines that are made carry Ceph's programs; its daemons start once StartCeph is called.
	Ceph bool
	// Provision is called once every machine is up, at each Up; it hands out identities and enables the children.
	Provision func(context.Context, *Cluster) error
}

func (o Options) check() error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, MaxNodes)
	}
	if o.Link != "" {
		_, err := supervisor.ParseRate(o.Link)
		return err
	}
	return nil
}

// The recipes of machines.
const (
	nodeImage = "node"
	cephImage = "ceph"
)

func (o Options) image() string {
	if o.Ceph {
		return cephImage
	}
	return nodeImage
}

// Up makes the cluster as asked. What is there already stays, what is missing or stopped is repaired, and a changed
// binary replaces the old one without touching a container.
func Up(ctx context.Context, e *Engine, o Options) (*Cluster, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	image, err := e.build(ctx, o.image())
	if err != nil {
		return nil, err
	}
	program, err := readProgram(o.Binary)
	if err != nil {
		return nil, err
	}
	c, err := Open(ctx, e, o.Name)
	if errors.Is(err, ErrNoCluster) {
		c, err = ensureNetwork(ctx, e, o.Name, o.IPv6)
	}
	if err != nil {
		return nil, err
	}
	if err := c.raise(ctx, o, image, program); err != nil {
		return nil, err
	}
	if o.Link != "" {
		if err := c.Link(ctx, o.Link); err != nil {
			return nil, err
		}
	}
	if o.Provision != nil {
		if err := o.Provision(ctx, c); err != nil {
			return nil, fmt.Errorf("give the machines of cluster %s their identities: %w", o.Name, err)
		}
	}
	return c, nil
}

// raise brings every machine up, all at once.
func (c *Cluster) raise(ctx context.Context, o Options, image string, program program) error {
	hosting, err := c.hosting(ctx, image)
	if err != nil {
		return err
	}
	names := []string{ControlName}
	for i := range o.Nodes {
		names = append(names, fmt.Sprintf("node%d", i+1))
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		n, err := c.Node(name)
		if err != nil {
			return err
		}
		group.Go(func() error {
			if err := c.ensureMachine(ctx, n, hosting); err != nil {
				return err
			}
			return c.refresh(ctx, n, childrenOf(n, o), program)
		})
	}
	return group.Wait()
}

func (c *Cluster) ensureMachine(ctx context.Context, n Node, h hosting) error {
	found, err := c.engine.docker.ContainerInspect(ctx, n.Container, client.ContainerInspectOptions{})
	if err == nil {
		if found.Container.Config.Labels[labelCluster] != c.name {
			return fmt.Errorf("container %s is there already and belongs to no development cluster: rename or remove it", n.Container)
		}
		if aged(found.Container.Config.Image, h.image) {
			c.engine.say(n.Name + " was made by another version of this program; flocker dev down, then up, renews it")
		}
		return nil
	}
	if !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("inspect %s: %w", n.Container, err)
	}
	for volume := range c.volumesOf(n) {
		if _, err := c.engine.docker.VolumeCreate(ctx, client.VolumeCreateOptions{Name: volume, Labels: c.labels(n.Name)}); err != nil {
			return fmt.Errorf("make volume %s: %w", volume, err)
		}
	}
	if _, err := c.engine.docker.ContainerCreate(ctx, c.container(n, h)); err != nil {
		return fmt.Errorf("make %s: %w", n.Container, err)
	}
	return nil
}

// aged says that an image was made of another version of the same recipe.
func aged(image, now string) bool {
	recipe, _, _ := strings.Cut(image, ":")
	current, _, _ := strings.Cut(now, ":")
	return recipe == current && image != now
}

// refresh gives a machine its files, starts it where it does not run, and waits for it.
func (c *Cluster) refresh(ctx context.Context, n Node, children []supervisor.Child, program program) error {
	found, err := c.engine.docker.ContainerInspect(ctx, n.Container, client.ContainerInspectOptions{})
	if err != nil {
		return fmt.Errorf("inspect %s: %w", n.Container, err)
	}
	state := found.Container.State
	if state.Paused {
		if err := c.Unpause(ctx, n.Name); err != nil {
			return err
		}
	}
	changed, err := c.writeFiles(ctx, n, children, program, state.Running)
	if err != nil {
		return err
	}
	if state.Running && changed {
		return c.restartOurs(ctx, n)
	}
	if state.Running {
		return c.waitReady(ctx, n)
	}
	return c.boot(ctx, n)
}

func (c *Cluster) boot(ctx context.Context, n Node) error {
	if _, err := c.engine.docker.ContainerStart(ctx, n.Container, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start %s: %w", n.Container, err)
	}
	return c.waitReady(ctx, n)
}

// waitReady waits inside the node, so that nothing is asked over and over from here.
func (c *Cluster) waitReady(ctx context.Context, n Node) error {
	script := "until test -s " + supervisor.StatusFile + "; do sleep 0.05; done"
	if !n.IsControl() {
		script += "; until docker version >/dev/null 2>&1; do sleep 0.1; done"
	}
	waiting, cancel := context.WithTimeout(ctx, nodeStart)
	defer cancel()
	_, err := c.Exec(waiting, n.Name, "sh", "-c", script)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%s does not come up: %w; its last words:\n%s", n.Name, err, c.lastWords(ctx, n))
}

// childrenOf is what a machine's supervisor runs.
func childrenOf(n Node, o Options) []supervisor.Child {
	var children []supervisor.Child
	gated := func(name string, args func(Node) []string) {
		if args != nil {
			command := append([]string{programPath}, args(n)...)
			children = append(children, supervisor.Child{Name: name, Command: command, Gated: true})
		}
	}
	if n.IsControl() {
		gated("control", o.ControlArgs)
		gated("blockstore", o.StoreArgs)
		return append(children, cephChildren(n)...)
	}
	children = append(children,
		supervisor.Child{Name: "docker", Command: []string{"/bin/sh", "-c", startEngine}},
		supervisor.Child{Name: ZFSDaemon, Command: []string{"/bin/sh", "/usr/local/lib/flocker-dev/zfs.sh"}, Gated: true})
	gated("agent", o.AgentArgs)
	return children
}

// ZFSDaemon is the process of a node that serves its ZFS pool, once it is enabled.
const ZFSDaemon = "zfs"

// startEngine clears what an engine that was killed leaves: the number in its file may belong to another process now.
const startEngine = `rm -f /run/docker.pid; exec dockerd --cgroup-parent "$FLOCKER_DEV_CGROUP/docker"`

func encodeChildren(children []supervisor.Child) ([]byte, error) {
	if children == nil {
		children = []supervisor.Child{}
	}
	content, err := json.MarshalIndent(children, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode children: %w", err)
	}
	return content, nil
}

func (c *Cluster) lastWords(ctx context.Context, n Node) string {
	logs, err := c.engine.docker.ContainerLogs(ctx, n.Container, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	defer func() { _ = logs.Close() }() // only read
	var text strings.Builder
	if _, err := copyLogs(&text, logs); err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return text.String()
}
