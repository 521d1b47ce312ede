// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// askReadyFor bounds one wait for an application to get ready; it is asked again after a pause.
const askReadyFor = 30 * time.Second

// readiness finds out, beside the loop, which running containers are ready. A start is
// looked at until it is; what it is asked is the same as in a move.
type readiness struct {
	mu     sync.Mutex
	ready  map[string]string         // application -> the start that got ready
	asking map[string]string         // application -> the start that is being asked
	why    map[string]cluster.Status // why one is not ready yet
	work   sync.WaitGroup
}

func newReadiness() *readiness {
	return &readiness{ready: map[string]string{}, asking: map[string]string{}, why: map[string]cluster.Status{}}
}

func startOf(c cluster.Container) string { return c.ID + c.Started.String() }

// of says whether the container is ready, and begins to ask where that is not known.
func (r *readiness) of(ctx context.Context, c cluster.Container, app cluster.Application, ask func(context.Context) error, done func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.State != cluster.ContainerRunning {
		delete(r.ready, c.Application)
		delete(r.why, c.Application)
		return false
	}
	start := startOf(c)
	if r.ready[c.Application] == start {
		return true
	}
	if app.Name == "" || r.asking[c.Application] == start {
		return false
	}
	r.asking[c.Application] = start
	r.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, askReadyFor)
		defer cancel()
		err := ask(ctx)
		r.mu.Lock()
		delete(r.asking, c.Application)
		r.answered(c.Application, start, err)
		r.mu.Unlock()
		done()
	})
	return false
}

func (r *readiness) answered(app, start string, err error) {
	if err == nil {
		r.ready[app] = start
		delete(r.why, app)
		return
	}
	st := r.why[app]
	if st.Failures == 0 {
		st = cluster.Status{Step: "ready", Since: time.Now()}
	}
	st.Failures++
	st.Reason = err.Error()
	r.why[app] = st
}

// explain adds why applications are not ready to what else is pending. What no longer runs here is not waited for.
func (r *readiness) explain(all map[string]cluster.Status, containers map[string]cluster.Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for app, st := range r.why {
		if containers[app].State != cluster.ContainerRunning {
			delete(r.why, app)
			continue
		}
		if object := plan.ApplicationObject(app); all[object].Reason == "" {
			all[object] = st
		}
	}
}
