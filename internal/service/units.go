// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/packaging/systemd"
)

// Units runs services under systemd.
type Units struct {
	Local    string   // where units are written
	Packaged []string // where packages put theirs
}

// NewUnits has systemd's usual folders.
func NewUnits() Units {
	return Units{Local: "/etc/systemd/system", Packaged: []string{"/usr/lib/systemd/system", "/lib/systemd/system"}}
}

// Logs is the journal.
func (Units) Logs(s Service) string { return "journalctl -u " + s.Name }

// Start installs the unit if need be, enables and starts it.
func (u Units) Start(ctx context.Context, s Service) (bool, error) {
	changed, err := u.install(s)
	if err != nil {
		return false, err
	}
	if changed {
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return false, err
		}
	}
	active, err := isActive(ctx, s)
	if err != nil {
		return false, err
	}
	if active && !changed {
		return false, nil
	}
	if err := systemctl(ctx, "enable", s.Name); err != nil {
		return false, err
	}
	return true, systemctl(ctx, "restart", s.Name)
}

func isActive(ctx context.Context, s Service) (bool, error) {
	err := systemctl(ctx, "is-active", "--quiet", s.Name)
	if failed, ok := errors.AsType[*run.Error](err); ok && failed.ExitCode() > 0 {
		return false, nil
	}
	return err == nil, err
}

// install writes the unit, unless a package has brought the same.
func (u Units) install(s Service) (changed bool, err error) {
	text, err := systemd.Unit(s.Name, s.Program, s.Args...)
	if err != nil {
		return false, err
	}
	file := s.Name + ".service"
	for _, dir := range append([]string{u.Local}, u.Packaged...) {
		there, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil && string(there) == text {
			return false, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("read unit: %w", err)
		}
		if err == nil {
			break // the first is the one that counts
		}
	}
	if err := os.WriteFile(filepath.Join(u.Local, file), []byte(text), 0o644); err != nil {
		return false, fmt.Errorf("install unit: %w", err)
	}
	return true, nil
}

func systemctl(ctx context.Context, args ...string) error {
	return run.Command(ctx, "systemctl", args...).Run()
}
