// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"sync"
)

// making knows the applications whose containers are being made, each by one caller at a time.
type making struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func newMaking() making { return making{held: map[string]chan struct{}{}} }

// begin waits for its turn with the application and returns what ends it.
func (m *making) begin(ctx context.Context, application string) (end func(), err error) {
	for {
		m.mu.Lock()
		busy, taken := m.held[application]
		if !taken {
			done := make(chan struct{})
			m.held[application] = done
			m.mu.Unlock()
			return func() { m.end(application, done) }, nil
		}
		m.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *making) end(application string, done chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, application)
	close(done)
}

func (m *making) now(application string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, taken := m.held[application]
	return taken
}
