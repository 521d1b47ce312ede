// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"sync"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/converge"
	"github.com/flocker-project/flocker/plan"
)

// statuses keeps why each object is pending, and when a failed step is due again.
type statuses struct {
	mu      sync.Mutex
	failed  map[string]cluster.Status
	pauses  converge.Backoff
	waits   map[string]cluster.Status
	under   map[string]cluster.Status // steps under way that say how far they are
	blindTo *cluster.Status
	last    api.ObservedReport
	known   bool
}

func newStatuses() *statuses {
	return &statuses{failed: map[string]cluster.Status{}, waits: map[string]cluster.Status{}, under: map[string]cluster.Status{}}
}

// planned takes in the reasons to wait, except for what is running, and forgets failures
// of objects with nothing left to do.
func (s *statuses) planned(steps []plan.Step, running map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := map[string]cluster.Status{}
	pending := map[string]bool{}
	for _, step := range steps {
		w, ok := step.(plan.Wait)
		if !ok {
			pending[step.Object()] = true
			continue
		}
		if running[w.About] {
			continue // it is under way, and says so by its progress
		}
		st := cluster.Status{Reason: w.Reason, Step: w.Kind(), Since: time.Now()}
		if old, ok := s.waits[w.About]; ok && old.Reason == w.Reason {
			st.Since = old.Since
		}
		waits[w.About] = st
	}
	s.waits = waits
	for object := range s.failed {
		if !pending[object] {
			delete(s.failed, object)
		}
	}
}

// due says whether a step of the object may run now; otherwise the loop is woken when it may.
func (s *statuses) due(object string, wake *converge.Waker) bool {
	if s.pauses.Ready(object) {
		return true
	}
	if at, waiting := s.pauses.Next(); waiting {
		wake.WakeAfter(time.Until(at))
	}
	return false
}

// done takes in a step's end. A restart by policy is paced like a failure: a
// container that ends again and again is started less and less often.
func (s *statuses) done(step plan.Step, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := step.Object()
	delete(s.under, object)
	if err == nil {
		delete(s.failed, object)
		if start, ok := step.(plan.StartContainer); ok && start.Restart {
			s.pauses.Failed(object)
		} else if !ok {
			s.pauses.Succeeded(object)
		}
		return
	}
	st := s.failed[object]
	if st.Step != step.Kind() {
		st = cluster.Status{Since: time.Now(), Step: step.Kind()}
	}
	st.Reason = err.Error()
	st.Failures, _ = s.pauses.Failed(object)
	s.failed[object] = st
}

// progress says how far a step is that takes long.
func (s *statuses) progress(step plan.Step, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, again := s.under[step.Object()]
	if !again {
		st.Since = time.Now()
	}
	st.Step, st.Reason = step.Kind(), text
	s.under[step.Object()] = st
}

func (s *statuses) blind(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blindTo == nil {
		s.blindTo = &cluster.Status{Since: time.Now(), Step: "discover"}
	}
	s.blindTo.Reason = err.Error()
	s.blindTo.Failures++
}

func (s *statuses) seeing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blindTo = nil
}

func (s *statuses) read() map[string]cluster.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.waits)
	maps.Copy(all, s.failed)
	maps.Copy(all, s.under)
	if s.blindTo != nil {
		all[cluster.StatusOfNode] = *s.blindTo
	}
	return all
}

func (s *statuses) differs(r api.ObservedReport) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.known || !same(s.last, r)
}

func (s *statuses) reported(r api.ObservedReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.known = r, true
}

// forget makes the next report a full one, for a new session.
func (s *statuses) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = false
}
