// SPDX-License-Identifier: Apache-2.0

// Package mem is a container runtime in memory, with the truth about it for tests.
package mem

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// Config are a test's or simulator's hooks; each may be nil.
type Config struct {
	// Program is what every container runs; without it a container runs until it is sent SIGTERM, SIGINT or SIGQUIT.
	Program Program
	// Source says whether a mount's source is there; without it every one is.
	Source func(path string) bool
	// Pull is the registry: the image's content ID and size, or why there is none; without it there is no registry.
	Pull func(ref string) (Image, error)
	// Fault makes a call fail, by the method's name and the application (empty for images and lists).
	Fault func(method, application string) error
	// Exec answers commands run in a container; without it Program runs them.
	Exec func(application string, command []string) (code int, output string, err error)
}

// Program is what a container runs. It returns its exit code, soon after ctx ends, which is SIGKILL.
type Program func(ctx context.Context, p Process) int

// Process is what a program is given.
type Process struct {
	Spec    container.Spec
	Command []string
	Signals <-chan string
	Output  io.Writer
	// Work runs a part of the program that no pause cuts in two, once the container is not paused; nil for commands of Exec.
	Work func(part func())
}

// Image is an image's content.
type Image struct {
	ID   string
	Size int64
}

// Engine is a container.Engine in memory. Its state is that of a machine: it outlives an agent, and Reboot ends every process.
type Engine struct {
	config Config

	mu         sync.Mutex
	images     map[string]Image
	containers map[string]*instance
	foreign    map[string][]string
	foreigners map[string][]cluster.Port // with ports of the machine
	watchers   map[chan struct{}]bool
	made       int                     // counts holders and containers, for their names
	joined     container.NetworkConfig // zero before Join
	stands     container.NetworkConfig // of the network that is there; it outlives an agent
}

var _ container.Engine = (*Engine)(nil)

// New is a machine without images or containers.
func New(config Config) *Engine {
	if config.Program == nil {
		config.Program = untilSignalled
	}
	return &Engine{
		config:     config,
		images:     map[string]Image{},
		containers: map[string]*instance{},
		foreign:    map[string][]string{},
		foreigners: map[string][]cluster.Port{},
		watchers:   map[chan struct{}]bool{},
	}
}

func untilSignalled(ctx context.Context, p Process) int {
	select {
	case <-p.Signals:
		return 0
	case <-ctx.Done():
		return killed
	}
}

// AddImage puts an image here.
func (e *Engine) AddImage(ref string, image Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref] = image
}

// RemoveImage takes an image away.
func (e *Engine) RemoveImage(ref string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.images, ref)
}

// SetForeign makes a running container that is not ours use folders of the machine; none ends it.
func (e *Engine) SetForeign(name string, mounts ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.foreign, name)
	if len(mounts) > 0 {
		e.foreign[name] = mounts
	}
	e.changed()
}

// SetPublisher makes a running container that is not ours have ports of the machine; none ends it.
func (e *Engine) SetPublisher(name string, ports ...cluster.Port) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.foreigners, name)
	if len(ports) > 0 {
		e.foreigners[name] = ports
	}
	e.changed()
}

// HasImage says whether the image is here.
func (e *Engine) HasImage(_ context.Context, ref string) (id string, size int64, err error) {
	if err := e.fault("HasImage", ""); err != nil {
		return "", 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	image, ok := e.images[ref]
	if !ok {
		return "", 0, fmt.Errorf("image %s: %w", ref, container.ErrImageMissing)
	}
	return image.ID, image.Size, nil
}

// Pull asks the hook.
func (e *Engine) Pull(_ context.Context, ref string) error {
	if err := e.fault("Pull", ""); err != nil {
		return err
	}
	if e.config.Pull == nil {
		return fmt.Errorf("pull image %s: there is no registry: %w", ref, container.ErrImageMissing)
	}
	image, err := e.config.Pull(ref)
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	e.AddImage(ref, image)
	return nil
}

// archived is an exported image.
type archived struct {
	Ref   string
	Image Image
}

// Export writes an archive of the image.
func (e *Engine) Export(ctx context.Context, ref string, w io.Writer) error {
	id, size, err := e.HasImage(ctx, ref)
	if err != nil {
		return err
	}
	if err := e.fault("Export", ""); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(archived{ref, Image{id, size}})
}

// Import reads what Export wrote.
func (e *Engine) Import(_ context.Context, r io.Reader) error {
	if err := e.fault("Import", ""); err != nil {
		return err
	}
	var image archived
	if err := json.NewDecoder(r).Decode(&image); err != nil {
		return fmt.Errorf("import image: %w", err)
	}
	e.AddImage(image.Ref, image.Image)
	return nil
}

// Events signals after each change.
func (e *Engine) Events(ctx context.Context) (<-chan struct{}, error) {
	if err := e.fault("Events", ""); err != nil {
		return nil, err
	}
	watcher := make(chan struct{}, 1)
	watcher <- struct{}{} // as on every connection
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers[watcher] = true
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, watcher)
		close(watcher)
	})
	return watcher, nil
}

// changed signals to all watchers; the lock is held.
func (e *Engine) changed() {
	for watcher := range e.watchers {
		select {
		case watcher <- struct{}{}:
		default:
		}
	}
}

// List returns our containers and the foreign ones.
func (e *Engine) List(context.Context) ([]container.Found, error) {
	if err := e.fault("List", ""); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []container.Found
	for _, application := range slices.Sorted(maps.Keys(e.containers)) {
		all = append(all, e.containers[application].found())
	}
	for _, name := range slices.Sorted(maps.Keys(e.foreign)) {
		all = append(all, container.Found{Name: name, Mounts: slices.Clone(e.foreign[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(e.foreigners)) {
		all = append(all, container.Found{Name: name, Published: slices.Clone(e.foreigners[name])})
	}
	return all, nil
}

func (e *Engine) fault(method, application string) error {
	if e.config.Fault == nil {
		return nil
	}
	return e.config.Fault(method, application)
}
