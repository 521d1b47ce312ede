// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// killed is the exit code of a process that was killed.
const killed = 128 + 9

// instance is one container with its holder.
type instance struct {
	spec   container.Spec
	id     string
	holder int // its number; 0 while it does not run
	hosts  map[string]netip.Addr
	state  cluster.ContainerState
	code   int
	began  time.Time
	output *output
	now    *process // nil when it does not run
}

// process is one run of a container's program.
type process struct {
	signals chan string
	kill    context.CancelFunc
	ended   chan struct{}

	pausing sync.Mutex   // around a change of paused
	paused  bool         // then this holds pen
	pen     sync.RWMutex // the program's work reads it
}

// work runs a part of the program while it is not paused.
func (p *process) work(part func()) {
	p.pen.RLock()
	defer p.pen.RUnlock()
	part()
}

// pause waits for the part under way, and keeps the next from beginning.
func (p *process) pause() {
	p.pausing.Lock()
	defer p.pausing.Unlock()
	if !p.paused {
		p.pen.Lock()
		p.paused = true
	}
}

func (p *process) unpause() {
	p.pausing.Lock()
	defer p.pausing.Unlock()
	if p.paused {
		p.paused = false
		p.pen.Unlock()
	}
}

func (c *instance) found() container.Found {
	found := container.Found{
		Container: cluster.Container{
			Application: c.spec.Application.Name,
			ID:          c.id,
			State:       c.state,
			Spec:        c.spec.Application.SpecHash(),
			ExitCode:    c.code,
			Started:     c.began,
		},
		Ours: true,
		Name: container.NamePrefix + c.spec.Application.Name,
	}
	for _, m := range c.spec.Mounts {
		found.Datasets = append(found.Datasets, m.Dataset)
		found.Mounts = append(found.Mounts, m.Source)
	}
	if c.holder > 0 {
		found.Netns = fmt.Sprintf("mem/%d/net", c.holder)
		found.Address = c.spec.Address.String()
	}
	return found
}

// same says whether the container was made from a specification that needs no other one.
func (c *instance) same(spec container.Spec) bool {
	return c.spec.Application.SpecHash() == spec.Application.SpecHash() &&
		slices.Equal(c.spec.Mounts, spec.Mounts) && slices.Equal(c.spec.Links, spec.Links)
}

// begin runs the program. The engine's lock is held; ended is called without it.
func (c *instance) begin(program Program, ended func(*process, int)) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{signals: make(chan string, 8), kill: cancel, ended: make(chan struct{})}
	c.now, c.state, c.code, c.began = p, cluster.ContainerRunning, 0, time.Now()
	given := Process{Spec: c.spec, Command: c.spec.Application.Command, Signals: p.signals, Output: c.output, Work: p.work}
	go func() {
		defer cancel()
		ended(p, program(ctx, given))
	}()
}

// output keeps what programs print.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) last(lines int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := strings.SplitAfter(strings.TrimSuffix(o.text.String(), "\n"), "\n")
	if o.text.Len() == 0 {
		return ""
	}
	return strings.Join(all[max(0, len(all)-lines):], "") + "\n"
}
