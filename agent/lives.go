// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

const (
	// defaultReadyTimeout is what a move has to get ready when it does not say.
	defaultReadyTimeout = 60 * time.Second
	// overdueGrace is for the target's own way back before the source takes it.
	overdueGrace = 10 * time.Second
)

// lives remembers, for this process, which containers it saw running and which it
// stopped itself: that tells an application that ended from one that was stopped.
type lives struct {
	mu       sync.Mutex
	running  map[string]life // by application, as last seen running
	stopped  map[string]life // by application, what a step or a move of ours stopped last
	restarts map[string]int
	handed   map[cluster.MoveID]time.Time // when this process first saw the move handed over
}

// life is one run of a container, from a start to its end.
type life struct {
	container string
	started   time.Time
}

func (l life) is(c cluster.Container) bool { return l.container == c.ID && l.started.Equal(c.Started) }

func newLives() *lives {
	return &lives{
		running: map[string]life{}, stopped: map[string]life{},
		restarts: map[string]int{}, handed: map[cluster.MoveID]time.Time{},
	}
}

// saw completes what the runtime says of a container. before is what this node last
// reported of it, perhaps by an earlier process of the agent.
func (l *lives) saw(c cluster.Container, before cluster.Container) cluster.Container {
	l.mu.Lock()
	defer l.mu.Unlock()
	app := c.Application
	switch c.State {
	case cluster.ContainerRunning, cluster.ContainerPaused:
		// What is being stopped is seen running for a while: only another run is not what we stopped.
		l.running[app] = life{c.ID, c.Started}
	case cluster.ContainerExited:
		reported := before.Ended && before.ID == c.ID && before.Started.Equal(c.Started)
		c.Ended = !l.stopped[app].is(c) && (l.running[app].is(c) || reported)
	case cluster.ContainerCreated:
	}
	c.Restarts = l.restarts[app]
	return c
}

// stopping notes that the application is stopped by us.
func (l *lives) stopping(app string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped[app] = l.running[app]
}

// starting notes a start; one by the restart policy is counted.
func (l *lives) starting(app string, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if again {
		l.restarts[app]++
	}
}

func (l *lives) removed(app string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.running, app)
	delete(l.stopped, app)
	delete(l.restarts, app)
}

// overdue says which moves this node handed over have had their time to get ready,
// counted by this process: a restarted agent gives the target its whole time again.
func (l *lives) overdue(d cluster.Desired, me cluster.NodeID, grace time.Duration) (late map[cluster.MoveID]bool, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, m := range d.Moves {
		if m.Source != me || m.Phase != cluster.MoveHandedOver {
			delete(l.handed, id)
			continue
		}
		first, known := l.handed[id]
		if !known {
			first = time.Now()
			l.handed[id] = first
		}
		allowed := m.Options.ReadyTimeout.Std()
		if allowed == 0 {
			allowed = defaultReadyTimeout
		}
		left := allowed + grace - time.Since(first)
		if left <= 0 {
			if late == nil {
				late = map[cluster.MoveID]bool{}
			}
			late[id] = true
		} else if next == 0 || left < next {
			next = left
		}
	}
	return late, next
}
