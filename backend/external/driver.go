// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// DefaultTimeout is how long a call may take for which nothing else is said.
const DefaultTimeout = 2 * time.Minute

// Config says where the driver is and for whom it is asked.
type Config struct {
	Socket  string // absolute path of its Unix socket
	Cluster string // the cluster's UUID: volumes of others are not shown to it
	Timeout time.Duration
}

// driver is a store behind a socket.
type driver struct {
	socket   *socket
	profiles []string // that it said it has when it was opened
}

// Open greets the driver, and makes of it a store with the abilities and the profiles that it says it has.
func Open(ctx context.Context, config Config) (backend.Volumes, error) {
	d, err := newDriver(config)
	if err != nil {
		return nil, err
	}
	g, err := d.greeting(ctx)
	if err != nil {
		return nil, err
	}
	d.profiles = g.Profiles
	return d.with(g), nil
}

// Greet asks a driver what it is.
func Greet(ctx context.Context, config Config) (Greeting, error) {
	d, err := newDriver(config)
	if err != nil {
		return Greeting{}, err
	}
	return d.greeting(ctx)
}

func newDriver(config Config) (*driver, error) {
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if !filepath.IsAbs(config.Socket) || len(config.Socket) > longestSocket {
		return nil, fmt.Errorf("socket %q: %w: want an absolute path of up to %d characters", config.Socket, cluster.ErrInvalid, longestSocket)
	}
	return &driver{socket: newSocket(config.Socket, config.Cluster, config.Timeout)}, nil
}

// with is the driver with the methods of its abilities, and no others: who uses a store looks which it has.
func (d *driver) with(g Greeting) backend.Volumes {
	can, grows := evicter{d, g.Can(AbilityFence)}, grower{d}
	switch {
	case g.Can(AbilityEvict) && g.Can(AbilityGrow):
		return struct {
			*driver
			evicter
			grower
		}{d, can, grows}
	case g.Can(AbilityEvict):
		return struct {
			*driver
			evicter
		}{d, can}
	case g.Can(AbilityGrow):
		return struct {
			*driver
			grower
		}{d, grows}
	}
	return d
}

func (d *driver) greeting(ctx context.Context) (Greeting, error) {
	var g Greeting
	if err := d.socket.call(ctx, http.MethodGet, "greeting", nil, &g); err != nil {
		return g, err
	}
	return g, d.named("greeting", g.check())
}

// StoreProfiles are those of the greeting.
func (d *driver) StoreProfiles() []string { return d.profiles }

// named says of which driver and which call an error is.
func (d *driver) named(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("driver at %s: %s: %w", d.socket.path, op, err)
}

// Machine is what the driver calls this machine now.
func (d *driver) Machine(ctx context.Context) (string, error) {
	g, err := d.greeting(ctx)
	return g.Machine, err
}

func (d *driver) List(ctx context.Context) ([]backend.Volume, error) {
	var a volumesAnswer
	if err := d.socket.call(ctx, http.MethodPost, "list", &request{}, &a); err != nil {
		return nil, err
	}
	all, err := a.check()
	return all, d.named("list", err)
}

// Create tells the driver only of profiles that it has; others are the operator's for what is made on the volume.
func (d *driver) Create(ctx context.Context, spec backend.Spec) (backend.Volume, error) {
	if !slices.Contains(d.profiles, spec.Profile) {
		spec.Profile = ""
	}
	var a volumeAnswer
	q := &request{Dataset: spec.Dataset, Size: spec.Size, Profile: spec.Profile}
	if err := d.socket.call(ctx, http.MethodPost, "create", q, &a); err != nil {
		return backend.Volume{}, err
	}
	v, err := a.check(spec)
	return v, d.named("create", err)
}

func (d *driver) Destroy(ctx context.Context, v backend.Volume) error {
	return d.change(ctx, "destroy", &request{Volume: toWire(v)})
}

// Attach returns a device only where it is one: what is named here may be formatted.
func (d *driver) Attach(ctx context.Context, v backend.Volume) (string, error) {
	var a deviceAnswer
	if err := d.socket.call(ctx, http.MethodPost, "attach", &request{Volume: toWire(v)}, &a); err != nil {
		return "", err
	}
	device, err := a.check()
	if err == nil {
		err = checkBlock(device)
	}
	if err != nil {
		return "", d.named("attach", err)
	}
	return device, nil
}

// checkBlock refuses what is there and is no block device. What is not there yet may appear.
func checkBlock(device string) error {
	info, err := os.Stat(device)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("device %s: %w", device, err)
	case info.Mode().Type() != os.ModeDevice:
		return fmt.Errorf("%w: %s is no block device but %s", errAnswer, device, info.Mode())
	}
	return nil
}

func (d *driver) Detach(ctx context.Context, v backend.Volume) error {
	return d.change(ctx, "detach", &request{Volume: toWire(v)})
}

func (d *driver) Attached(ctx context.Context) (map[string]string, error) {
	var a devicesAnswer
	if err := d.socket.call(ctx, http.MethodPost, "attached", &request{}, &a); err != nil {
		return nil, err
	}
	devices, err := a.check()
	return devices, d.named("attached", err)
}

// change is a call whose answer says only that it was done.
func (d *driver) change(ctx context.Context, op string, q *request) error {
	return d.socket.call(ctx, http.MethodPost, op, q, &nothingAnswer{})
}

// evicter is the ability to evict.
type evicter struct {
	driver *driver
	fences bool
}

func (e evicter) Evict(ctx context.Context, v backend.Volume, machine string) error {
	return e.driver.change(ctx, "evict", &request{Volume: toWire(v), Machine: machine})
}

func (e evicter) Fences() bool { return e.fences }

// grower is the ability to grow.
type grower struct{ driver *driver }

func (g grower) Grow(ctx context.Context, v backend.Volume, size int64) error {
	return g.driver.change(ctx, "grow", &request{Volume: toWire(v), Size: size})
}
