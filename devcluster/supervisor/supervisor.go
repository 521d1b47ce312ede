// SPDX-License-Identifier: Apache-2.0

// Package supervisor is process 1 of a node of the development cluster. It starts the node's Docker engine and agent,
// starts them again when they die, and collects orphans, as init does on an ordinary machine.
package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// supervisor holds the running children.
type supervisor struct {
	log    *slog.Logger
	family *family
	env    []string
	bootID string

	mu     sync.Mutex // guards status and its file
	status []ChildStatus
}

// kept is a child with its keeper running.
type kept struct {
	stop context.CancelFunc
	done chan struct{}
	wake chan struct{}
}

// Run is the whole life of process 1: it returns after SIGTERM, when everything it started has ended.
// SIGHUP makes it look again at which children may run.
func Run(ctx context.Context, log *slog.Logger) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	s := &supervisor{log: log, family: newFamily(log), bootID: uuid.NewString()}
	// SIGTERM may also end ctx, but children end one after the other, below.
	ctx = context.WithoutCancel(ctx)
	children, err := ReadSpec(SpecFile)
	if err != nil {
		return err
	}
	if err := s.boot(ctx); err != nil {
		return err
	}
	quit, reaped := make(chan struct{}), make(chan struct{})
	go func() { defer close(reaped); s.family.reap(quit) }()
	running, err := s.startAll(ctx, children)
	if err != nil {
		return err
	}
	log.Info("node is up", "boot_id", s.bootID, "children", len(children))
	for sig := range signals {
		if sig != syscall.SIGHUP {
			break
		}
		for _, k := range running {
			select {
			case k.wake <- struct{}{}:
			default: // one wake is waiting already
			}
		}
	}
	log.Info("node is going down")
	for _, k := range slices.Backward(running) {
		k.stop()
		<-k.done
	}
	endOthers()
	close(quit)
	<-reaped
	return nil
}

func (s *supervisor) boot(ctx context.Context) error {
	if err := writeFile(BootIDFile, []byte(s.bootID+"\n")); err != nil {
		return fmt.Errorf("write boot id: %w", err)
	}
	cgroup, err := prepareMachine(ctx, s.log)
	if err != nil {
		return err
	}
	s.env = append(os.Environ(), "FLOCKER_DEV_CGROUP="+cgroup, "HOME=/root",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return ApplyNetwork(ctx)
}

func (s *supervisor) startAll(ctx context.Context, children []Child) ([]kept, error) {
	s.status = make([]ChildStatus, len(children))
	for i, c := range children {
		s.status[i] = ChildStatus{Name: c.Name, State: Disabled}
	}
	s.save() // whoever waits for this node waits for the file, and there may be no child to report
	all := make([]kept, len(children))
	for i, c := range children {
		log, err := openLog(filepath.Join(LogDir, c.Name+".log"), maxLog)
		if err != nil {
			return nil, err
		}
		out, err := pipeTo(log, s.log)
		if err != nil {
			return nil, fmt.Errorf("pipe of %s: %w", c.Name, err)
		}
		k := &keeper{
			name:   c.Name,
			start:  func() (*process, error) { return s.start(c.Name, out) },
			check:  func() State { return mayRun(c) },
			report: func(status ChildStatus) { s.report(i, status) },
			wake:   make(chan struct{}, 1),
		}
		ctx, stop := context.WithCancel(ctx)
		all[i] = kept{stop: stop, done: make(chan struct{}), wake: k.wake}
		go func() { defer close(all[i].done); k.keep(ctx) }()
	}
	return all, nil
}

// start reads the command anew, so that a changed file counts from the child's next start.
func (s *supervisor) start(name string, out *os.File) (*process, error) {
	children, err := ReadSpec(SpecFile)
	if err != nil {
		return nil, err
	}
	for _, c := range children {
		if c.Name == name {
			return s.family.start(c.Command, out, s.env)
		}
	}
	return nil, fmt.Errorf("child %s is no longer in %s", name, SpecFile)
}

func mayRun(c Child) State {
	switch {
	case c.Gated && !exists(EnabledFile(c.Name)):
		return Disabled
	case exists(HoldFile(c.Name)):
		return Held
	}
	return Running
}

func (s *supervisor) report(i int, status ChildStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status[i].State != status.State || status.State == Running {
		s.log.Info("child", "name", status.Name, "state", status.State, "pid", status.PID, "last_end", status.LastEnd)
	}
	s.status[i] = status
	s.save()
}

// save is called with mu held.
func (s *supervisor) save() {
	content, err := json.Marshal(Status{BootID: s.bootID, Children: s.status})
	if err == nil {
		err = writeFile(StatusFile, content)
	}
	if err != nil {
		s.log.Error("the node's status cannot be written", "file", StatusFile, "error", err)
	}
}

// endOthers ends what is left in the node, the containers of its engine above all, as a shutdown does.
func endOthers() {
	// Fails only where nothing is left.
	_ = syscall.Kill(-1, syscall.SIGTERM)
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for othersRun() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return // the kernel ends what is left together with process 1
		}
	}
}

// othersRun leaves out shims, which stay until their container has been deleted.
func othersRun() bool {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false
	}
	for _, dir := range names {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == 1 {
			continue
		}
		cmdline, err := os.ReadFile(dir + "/cmdline")
		program, _, _ := strings.Cut(string(cmdline), "\x00")
		if err == nil && program != "" && !strings.HasPrefix(filepath.Base(program), "containerd-shim") {
			return true
		}
	}
	return false
}
