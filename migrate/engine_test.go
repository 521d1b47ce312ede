// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// engine is a node's container runtime in memory. It outlives the agent.
type engine struct {
	mu         sync.Mutex
	node       string
	containers map[string]*contained
	images     map[string]string
	registry   map[string]string
	mounted    func(cluster.DatasetID) bool
	// misbehave, where set, makes a started container end at once.
	misbehave func(app string) bool
	unhealthy bool
	hookFails bool
	hooks     []string
	boots     int
	stops     int
	foreign   string // a container of this name is not ours
	onStop    func(app string)
}

type contained struct {
	spec  container.Spec
	state cluster.ContainerState
	netns string
}

func newEngine(node string) *engine {
	return &engine{node: node, containers: map[string]*contained{}, images: map[string]string{}, registry: map[string]string{}}
}

func (e *engine) Create(_ context.Context, spec container.Spec) (cluster.Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := spec.Application.Name
	if _, ok := e.images[spec.Application.Image]; !ok {
		return cluster.Container{}, container.ErrImageMissing
	}
	c, ok := e.containers[name]
	if ok && c.spec.Application.SpecHash() != spec.Application.SpecHash() {
		return cluster.Container{}, container.ErrNameTaken
	}
	if !ok {
		c = &contained{spec: spec, state: cluster.ContainerCreated}
		e.containers[name] = c
	}
	if c.netns == "" {
		c.netns = fmt.Sprintf("%s/%s/%d", e.node, name, e.boots)
	}
	return e.describe(name), nil
}

func (e *engine) describe(name string) cluster.Container {
	c := e.containers[name]
	return cluster.Container{
		Application: name, ID: e.node + name, State: c.state, Address: "10.0.0.1",
		Spec: c.spec.Application.SpecHash(), Datasets: c.spec.Application.DatasetIDs(),
	}
}

func (e *engine) Start(_ context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.containers[name]
	if !ok {
		return container.ErrNotFound
	}
	for _, m := range c.spec.Mounts {
		if !e.mounted(m.Dataset) {
			return fmt.Errorf("mount source %s is missing", m.Source)
		}
	}
	if c.netns == "" {
		c.netns = fmt.Sprintf("%s/%s/%d", e.node, name, e.boots)
	}
	c.state = cluster.ContainerRunning
	if e.misbehave != nil && e.misbehave(name) {
		c.state = cluster.ContainerExited
	}
	return nil
}

func (e *engine) Stop(_ context.Context, name, _ string, _ time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.containers[name]; ok && c.state == cluster.ContainerRunning {
		c.state = cluster.ContainerExited
		e.stops++
		if e.onStop != nil {
			e.onStop(name)
		}
	}
	return nil
}

func (e *engine) Remove(_ context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, name)
	return nil
}

func (e *engine) List(context.Context) ([]container.Found, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []container.Found
	for name, c := range e.containers {
		found = append(found, container.Found{Container: e.describe(name), Ours: true, Netns: c.netns})
	}
	if e.foreign != "" {
		found = append(found, container.Found{Name: e.foreign})
	}
	return found, nil
}

// change arranges what the engine does from now on.
func (e *engine) change(f func(*engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

// names are those of our containers.
func (e *engine) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.containers))
}

func (e *engine) Events(context.Context) (<-chan struct{}, error) { return nil, errors.ErrUnsupported }

func (e *engine) Join(context.Context, container.NetworkConfig) error { return errors.ErrUnsupported }

func (e *engine) SetHosts(context.Context, string, map[string]netip.Addr) error {
	return errors.ErrUnsupported
}

func (e *engine) Pause(context.Context, string) error { return errors.ErrUnsupported }

func (e *engine) Unpause(context.Context, string) error { return errors.ErrUnsupported }

func (e *engine) HasImage(_ context.Context, ref string) (string, int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	content, ok := e.images[ref]
	if !ok {
		return "", 0, container.ErrImageMissing
	}
	return content, int64(len(content)), nil
}

func (e *engine) Pull(_ context.Context, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	content, ok := e.registry[ref]
	if !ok {
		return fmt.Errorf("registry does not know %s", ref)
	}
	e.images[ref] = content
	return nil
}

func (e *engine) Export(_ context.Context, ref string, w io.Writer) error {
	e.mu.Lock()
	content, ok := e.images[ref]
	e.mu.Unlock()
	if !ok {
		return container.ErrImageMissing
	}
	_, err := io.WriteString(w, ref+"\n"+content)
	return err
}

func (e *engine) Import(_ context.Context, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	ref, content, _ := strings.Cut(string(b), "\n")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref] = content
	return nil
}

func (e *engine) Exec(_ context.Context, name string, command []string) (int, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.containers[name]; !ok || c.state != cluster.ContainerRunning {
		return 0, "", container.ErrNotRunning
	}
	e.hooks = append(e.hooks, command[0])
	switch {
	case command[0] == "healthy" && e.unhealthy:
		return 1, "not yet", nil
	case command[0] == "quiesce" && e.hookFails:
		return 3, "disk is on fire", nil
	}
	return 0, "", nil
}

func (e *engine) Logs(context.Context, string, int) (string, error) {
	return "FATAL: the last words\n", nil
}

// running is the truth.
func (e *engine) running(name string) (netns string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, there := e.containers[name]
	if !there || c.state != cluster.ContainerRunning {
		return "", false
	}
	return c.netns, true
}

// reboot stops everything, holders too.
func (e *engine) reboot() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.boots++
	for _, c := range e.containers {
		c.netns = ""
		if c.state == cluster.ContainerRunning {
			c.state = cluster.ContainerExited
		}
	}
}
