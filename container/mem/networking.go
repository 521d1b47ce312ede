// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/flocker-project/flocker/container"
)

// Join makes the machine's network as the cluster wants it.
func (e *Engine) Join(_ context.Context, config container.NetworkConfig) error {
	if err := config.Check(); err != nil {
		return err
	}
	refused := e.fault("Join", "")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.joined = container.NetworkConfig{}
	if refused != nil {
		return refused
	}
	if e.stands != config && len(e.containers) > 0 {
		busy := &container.NetworkBusyError{Network: "flocker", Have: fmt.Sprint(e.stands), Want: fmt.Sprint(config)}
		for _, application := range slices.Sorted(maps.Keys(e.containers)) {
			busy.Ours = append(busy.Ours, container.HolderPrefix+application)
		}
		return busy
	}
	e.stands, e.joined = config, config
	return nil
}

// Leave forgets what Join said, as the end of an agent does; the network stays.
func (e *Engine) Leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.joined = container.NetworkConfig{}
}

// SetHosts sets the names that an application knows.
func (e *Engine) SetHosts(_ context.Context, application string, hosts map[string]netip.Addr) error {
	if err := e.fault("SetHosts", application); err != nil {
		return err
	}
	if err := container.CheckHosts(hosts); err != nil {
		return fmt.Errorf("names for application %s: %w", application, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.get(application)
	if err != nil {
		return err
	}
	c.hosts = maps.Clone(hosts)
	return nil
}

// Hosts are the names that an application knows, its own apart.
func (e *Engine) Hosts(application string) map[string]netip.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.containers[application]; ok {
		return maps.Clone(c.hosts)
	}
	return nil
}
