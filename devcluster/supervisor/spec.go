// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Where a node keeps what its supervisor reads and writes.
const (
	SpecFile    = "/etc/flocker/children.json"
	NetworkFile = "/etc/flocker/network.json"
	BootIDFile  = "/run/flocker/boot_id"
	StatusFile  = "/run/flocker/status.json"
	LogDir      = "/var/log/flocker"
	DataDir     = "/var/lib/flocker"
)

// Child is a process that the supervisor keeps running.
type Child struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
	// Gated children start once EnabledFile exists.
	Gated bool `json:"gated,omitempty"`
}

// EnabledFile is the file whose existence lets a gated child start.
func EnabledFile(child string) string { return "/etc/flocker/" + child + ".enabled" }

// HoldFile is the file whose existence keeps a child from being started again.
func HoldFile(child string) string { return "/etc/flocker/" + child + ".hold" }

// ReadSpec reads the children of this node; they start in the order of the file.
func ReadSpec(path string) ([]Child, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read children: %w", err)
	}
	var children []Child
	if err := json.Unmarshal(content, &children); err != nil {
		return nil, fmt.Errorf("read children from %s: %w", path, err)
	}
	for _, c := range children {
		if c.Name == "" || len(c.Command) == 0 {
			return nil, fmt.Errorf("read children from %s: a child lacks its name or command", path)
		}
	}
	return children, nil
}

// State is what a child is doing.
type State string

// The states of a child.
const (
	Running  State = "running"
	Waiting  State = "waiting"  // ended, starts again after its back-off
	Held     State = "held"     // ended, a hold keeps it so
	Disabled State = "disabled" // not enabled yet
)

// ChildStatus is what the supervisor knows about a child.
type ChildStatus struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	PID    int    `json:"pid,omitempty"`
	Starts int    `json:"starts"`
	// LastEnd says how the child last ended.
	LastEnd string `json:"last_end,omitempty"`
}

// Status is what a node's supervisor reports.
type Status struct {
	BootID   string        `json:"boot_id"`
	Children []ChildStatus `json:"children"`
}

// writeFile replaces a file in one step, so that no reader sees half of it.
func writeFile(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
