// SPDX-License-Identifier: Apache-2.0

// Package service starts Flocker's own processes on a host: as units where
// systemd runs, as plain processes elsewhere.
package service

import "os"

// Service is one of Flocker's processes.
type Service struct {
	Name    string   // as its unit, e.g. "flocker-agent"
	Program string   // the executable
	Command string   // its subcommand, as in the unit, e.g. "agent"
	Args    []string // what follows the subcommand
}

// Systemd says whether systemd runs this machine.
func Systemd() bool {
	info, err := os.Stat("/run/systemd/system") // as sd_booted(3) does
	return err == nil && info.IsDir()
}
