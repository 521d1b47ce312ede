// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/pki"
)

// service is the control service with its embedded store: one process at a time on one data directory.
type service struct {
	w             *world
	dir           string
	creds         *pki.Credentials
	users, agents string       // addresses
	ahead         atomic.Int64 // nanoseconds, of its clock

	mu   sync.Mutex
	stop func()
}

func newService(w *world) *service {
	s := &service{w: w, dir: w.t.TempDir(), creds: w.credentials(w.authority.IssueControl([]string{"127.0.0.1"}))}
	s.start()
	w.t.Cleanup(s.kill)
	return s
}

func (s *service) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil { // of two crashes shortly after each other the first has begun the next process
		return
	}
	users, agents := listen(s.w.t, s.users), listen(s.w.t, s.agents)
	s.users, s.agents = users.Addr().String(), agents.Addr().String()
	ready := make(chan struct{})
	server := control.Server{
		Store: store.Options{Dir: s.dir, Log: s.w.log.of("etcd")}, Credentials: s.creds, Authority: s.w.authority,
		Users: users, Agents: agents, Version: "test", Log: s.w.log.of("control"), Clock: s.now,
		Ready: func(*control.Service) { close(ready) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.w.t.Errorf("the control service ended with %v", err)
		}
	}
	select {
	case <-ready:
	case err := <-done:
		s.w.t.Errorf("the control service does not start: %v", err)
		s.stop = nil
	}
}

// kill ends the process; what it had promised is in its store.
func (s *service) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
	s.stop = nil
}

// crash ends the process, and begins the next one after a while.
func (s *service) crash(away time.Duration) {
	s.kill()
	s.w.after(away, s.start)
}

// now is what the control service takes for the time.
func (s *service) now() time.Time { return time.Now().UTC().Add(time.Duration(s.ahead.Load())) }

// setClock moves the control service's clock on, to some time in an hour.
func (s *service) setClock(hours int, minute time.Duration) {
	now := s.now()
	then := now.Truncate(time.Hour).Add(time.Duration(hours)*time.Hour + minute)
	s.ahead.Add(int64(then.Sub(now)))
}
