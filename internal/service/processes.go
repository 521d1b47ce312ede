// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/internal/run"
)

const (
	settleTime = 500 * time.Millisecond // a process that is to fail at its start mostly does so sooner
	settleStep = 50 * time.Millisecond
	logTail    = 2048
)

// Processes runs services as plain processes, each known by a pid file.
type Processes struct {
	RunDir string
	LogDir string
}

// Logs is the service's log file.
func (p Processes) Logs(s Service) string { return filepath.Join(p.LogDir, s.Name+".log") }

// Start starts the service unless it runs.
func (p Processes) Start(ctx context.Context, s Service) (bool, error) {
	argv := slices.Concat([]string{s.Program, s.Command}, s.Args)
	pidFile := filepath.Join(p.RunDir, s.Name+".pid")
	if pid, err := readPid(pidFile); err != nil {
		return false, err
	} else if runs(pid, argv[1:]) {
		return false, nil
	}
	for _, dir := range []string{p.RunDir, p.LogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return false, fmt.Errorf("start %s: %w", s.Name, err)
		}
	}
	pid, err := run.Detach(p.Logs(s), s.Program, argv[1:]...)
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
		return true, fmt.Errorf("%s runs as process %d: %w", s.Name, pid, err)
	}
	return true, p.settle(ctx, s, pid, argv[1:])
}

// settle waits until the process has shown that it does not end at once.
func (p Processes) settle(ctx context.Context, s Service, pid int, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(settleStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if !runs(pid, args) {
				return fmt.Errorf("%s ended at once; the end of %s:\n%s", s.Name, p.Logs(s), p.lastWords(s))
			}
		}
	}
}

func (p Processes) lastWords(s Service) string {
	text, err := os.ReadFile(p.Logs(s))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-logTail):]))
}

// readPid is 0 without a pid file.
func readPid(path string) (int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("pid file %s: %w", path, err)
	}
	return pid, nil
}

// runs says whether the process lives and is the one that was started: pids are used again. The program itself may have
// another path by now.
func runs(pid int, args []string) bool {
	if pid <= 0 {
		return false
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false // gone
	}
	words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	return slices.Equal(words[1:], args) // a dead one that nobody has waited for has no words
}
