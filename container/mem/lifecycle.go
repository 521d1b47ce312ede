// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// keepOutput bounds a command's output.
const keepOutput = 64 << 10

// defaultStopTimeout is Docker's.
const defaultStopTimeout = 10 * time.Second

// Create makes a container.
func (e *Engine) Create(_ context.Context, spec container.Spec) (cluster.Container, error) {
	name := spec.Application.Name
	if err := e.fault("Create", name); err != nil {
		return cluster.Container{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.joined.Subnet.IsValid() {
		return cluster.Container{}, fmt.Errorf("container %s%s: %w", container.NamePrefix, name, container.ErrNotJoined)
	}
	if err := e.joined.CheckSpec(spec); err != nil {
		return cluster.Container{}, err
	}
	c, exists := e.containers[name]
	if exists && !c.same(spec) {
		return cluster.Container{}, fmt.Errorf("container %s%s: %w", container.NamePrefix, name, container.ErrNameTaken)
	}
	if exists && c.spec.Address != spec.Address {
		if c.now != nil {
			return cluster.Container{}, fmt.Errorf("container %s%s has the address %s, not %s: %w",
				container.NamePrefix, name, c.spec.Address, spec.Address, container.ErrAddressDiffers)
		}
		delete(e.containers, name)
		exists = false
	}
	if !exists {
		if _, here := e.images[spec.Application.Image]; !here {
			return cluster.Container{}, fmt.Errorf("image %s: %w", spec.Application.Image, container.ErrImageMissing)
		}
		e.made++
		c = &instance{spec: spec, id: fmt.Sprintf("mem-%d", e.made), state: cluster.ContainerCreated, output: &output{}}
		e.containers[name] = c
	}
	if err := e.hold(c); err != nil {
		if !exists {
			delete(e.containers, name)
		}
		return cluster.Container{}, err
	}
	e.changed()
	return c.found().Container, nil
}

// hold starts the holder where it does not run; the lock is held. An address is one running holder's.
func (e *Engine) hold(c *instance) error {
	if c.holder != 0 {
		return nil
	}
	for name, other := range e.containers {
		if other.holder != 0 && other.spec.Address == c.spec.Address {
			return &container.AddressTakenError{Application: c.spec.Application.Name, Address: c.spec.Address, Container: container.HolderPrefix + name}
		}
	}
	e.made++
	c.holder = e.made
	return nil
}

// Start starts a container.
func (e *Engine) Start(_ context.Context, application string) error {
	if err := e.fault("Start", application); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get(application)
	if err != nil || c.now != nil {
		return err
	}
	for _, m := range c.spec.Mounts {
		if e.config.Source != nil && !e.config.Source(m.Source) {
			return fmt.Errorf("start container of application %s: mount source %s: %w", application, m.Source, fs.ErrNotExist)
		}
	}
	if err := e.hold(c); err != nil {
		return err
	}
	c.begin(e.config.Program, func(p *process, code int) { e.ended(c, p, code) })
	e.changed()
	return nil
}

func (e *Engine) ended(c *instance, p *process, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.now, c.state, c.code = nil, cluster.ContainerExited, code
	close(p.ended)
	e.changed()
}

// get finds a container; the lock is held.
func (e *Engine) get(application string) (*instance, error) {
	c, ok := e.containers[application]
	if !ok {
		return nil, fmt.Errorf("container %s%s: %w", container.NamePrefix, application, container.ErrNotFound)
	}
	return c, nil
}

// running is an application's process, nil when there is none.
func (e *Engine) running(application string) (*instance, *process) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.containers[application]
	if !ok {
		return nil, nil
	}
	return c, c.now
}

// Stop sends the signal, waits, and kills after the time-out.
func (e *Engine) Stop(ctx context.Context, application, signal string, timeout time.Duration) error {
	if err := e.fault("Stop", application); err != nil {
		return err
	}
	c, p := e.running(application)
	if p == nil {
		return nil
	}
	p.unpause()
	if signal == "" {
		signal = c.spec.Application.StopSignal
	}
	if signal == "" {
		signal = "SIGTERM"
	}
	select {
	case p.signals <- signal:
	default: // the program does not look at its signals; the time-out is for it
	}
	patience := time.NewTimer(patienceOf(c, timeout))
	defer patience.Stop()
	for {
		select {
		case <-p.ended:
			return nil
		case <-patience.C:
			p.kill()
		case <-ctx.Done():
			return fmt.Errorf("stop container of application %s: %w", application, ctx.Err())
		}
	}
}

func patienceOf(c *instance, timeout time.Duration) time.Duration {
	if timeout == 0 {
		timeout = c.spec.Application.StopTimeout.Std()
	}
	if timeout == 0 {
		timeout = defaultStopTimeout
	}
	return timeout
}

// Remove kills and forgets a container.
func (e *Engine) Remove(_ context.Context, application string) error {
	if err := e.fault("Remove", application); err != nil {
		return err
	}
	e.Kill(application)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, application)
	e.changed()
	return nil
}

// Running is the truth about an application: whether its program runs.
func (e *Engine) Running(application string) bool {
	_, p := e.running(application)
	return p != nil
}

// Kill ends an application's program from outside, and returns when it has ended.
func (e *Engine) Kill(application string) {
	if _, p := e.running(application); p != nil {
		p.unpause()
		p.kill()
		<-p.ended
	}
}

// Reboot ends every process, holders included, and starts none.
func (e *Engine) Reboot() {
	e.mu.Lock()
	applications := slices.Collect(maps.Keys(e.containers))
	e.mu.Unlock()
	for _, application := range applications {
		e.Kill(application)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		c.holder = 0
	}
	e.foreign, e.foreigners = map[string][]string{}, map[string][]cluster.Port{}
	e.joined = container.NetworkConfig{} // who runs after a reboot joins again
	e.changed()
}

// Exec runs a command in a container.
func (e *Engine) Exec(ctx context.Context, application string, command []string) (code int, out string, err error) {
	if err := e.fault("Exec", application); err != nil {
		return 0, "", err
	}
	c, p := e.running(application)
	switch {
	case c == nil:
		return 0, "", fmt.Errorf("container %s%s: %w", container.NamePrefix, application, container.ErrNotFound)
	case p == nil:
		return 0, "", fmt.Errorf("container %s%s: %w", container.NamePrefix, application, container.ErrNotRunning)
	case e.config.Exec != nil:
		return e.config.Exec(application, command)
	}
	var printed bytes.Buffer
	code = e.config.Program(ctx, Process{Spec: c.spec, Command: command, Output: &printed})
	kept := printed.Bytes()
	return code, string(kept[max(0, len(kept)-keepOutput):]), ctx.Err()
}

// Logs returns the last lines that a container printed.
func (e *Engine) Logs(_ context.Context, application string, lines int) (string, error) {
	if err := e.fault("Logs", application); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get(application)
	if err != nil {
		return "", err
	}
	return c.output.last(lines), nil
}
