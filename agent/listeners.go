// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/network"
)

const (
	// lookAtPorts is how often the agent looks who listens on the node: nothing tells of that. A look reads the kernel's
	// tables of sockets, and processes only where a socket is new.
	lookAtPorts = 15 * time.Second
	// passing is where the kernel's own choice of ports begins.
	passing = 32768
	// maxReported bounds a report, and maxWho what it says of one port.
	maxReported = 256
	maxWho      = 80
)

// listeners is what listens on this node besides applications, as it is reported.
type listeners struct {
	mu         sync.Mutex
	last       map[network.Port]string // of the last look
	told       map[string]string       // processes
	containers map[string]string       // not ours, with ports that the runtime publishes
}

// watchPorts wakes the loop when something else listens on this node.
func (a *Agent) watchPorts(ctx context.Context) {
	ticker := time.NewTicker(lookAtPorts)
	defer ticker.Stop()
	for {
		now, err := a.Network.Listening(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.Log.Warn("look who listens on this node", "error", err)
		case a.listeners.saw(now):
			a.wake.Wake()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// saw takes in a look, and says whether the report differs. What comes and goes, such as the sockets that ask name servers,
// is told only when it is there at the next look too.
func (l *listeners) saw(now map[network.Port]string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := map[string]string{}
	for p, who := range now {
		if p.Protocol == "tcp" && p.Number < passing || l.last[p] == who {
			told[cluster.PublishedPort(p.Number, p.Protocol)] = who
		}
	}
	changed := !maps.Equal(told, l.told)
	l.last, l.told = now, told
	return changed
}

// withContainers takes in what the runtime lists, and is the whole for a report. A container's name says more than that of the
// runtime's process that listens for it.
func (l *listeners) withContainers(found []container.Found) map[string]string {
	containers := map[string]string{}
	for _, f := range found {
		for _, p := range f.Published {
			containers[p.Published()] = "container " + f.Name
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.containers = containers
	return bounded(l.merged(l.told))
}

// merged is the processes with the containers.
func (l *listeners) merged(processes map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, processes)
	maps.Copy(all, l.containers)
	return all
}

// bounded shortens a report to the same ports each time: those with the shortest names are the lowest.
func bounded(all map[string]string) map[string]string {
	ports := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	if len(ports) == 0 {
		return nil
	}
	kept := map[string]string{}
	for _, p := range ports[:min(len(ports), maxReported)] {
		kept[p] = strings.ToValidUTF8(all[p][:min(len(all[p]), maxWho)], "")
	}
	return kept
}

// portsInUse is who listens on this node right now.
func (a *Agent) portsInUse(ctx context.Context) (map[string]string, error) {
	listening, err := a.Network.Listening(ctx)
	if err != nil {
		return nil, err
	}
	processes := make(map[string]string, len(listening))
	for p, who := range listening {
		processes[cluster.PublishedPort(p.Number, p.Protocol)] = who
	}
	a.listeners.mu.Lock()
	defer a.listeners.mu.Unlock()
	return a.listeners.merged(processes), nil
}
