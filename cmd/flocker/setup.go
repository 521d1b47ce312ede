// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/service"
	"github.com/flocker-project/flocker/pki"
	"github.com/spf13/cobra"
)

const defaultConfigDir = "/etc/flocker"

// setup is what init and join share: a host's folders and identity, and what has been changed there so far.
type setup struct {
	configDir string
	name      string
	address   string
	backend   string
	further   []string
	options   []string
	noStart   bool

	out     io.Writer
	json    bool // say nothing but the result
	changes []string
}

// starter starts Flocker's processes on this host; systemd's units and plain processes are ones.
type starter interface {
	Start(ctx context.Context, s service.Service) (started bool, err error)
	Logs(s service.Service) string
}

func (s *setup) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.configDir, "config-dir", defaultConfigDir, "folder of the host's configuration and certificates")
	cmd.Flags().StringVar(&s.address, "address", "", "IP address at which the other hosts reach this one (default: found out)")
	cmd.Flags().StringVar(&s.backend, "backend", "btrfs", "storage backend of the node")
	storageFlags(cmd, &s.further, &s.options)
	cmd.Flags().BoolVar(&s.noStart, "no-start", false, "only write the files")
}

// did tells what was changed.
func (s *setup) did(format string, args ...any) {
	change := fmt.Sprintf(format, args...)
	s.changes = append(s.changes, change)
	s.say("%s", change)
}

func (s *setup) say(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.out, format+"\n", args...) // a closed terminal does not stop the work
	}
}

// setupResult is what init and join say to a program.
type setupResult struct {
	Cluster string         `json:"cluster"` // UUID
	Node    cluster.NodeID `json:"node,omitempty"`
	Changes []string       `json:"changes"`
}

// finish tells the result, in JSON to a program, else in the words of nothing or of something done.
func (s *setup) finish(r setupResult, nothing, something string) error {
	switch {
	case s.json:
		r.Changes = append([]string{}, s.changes...)
		return json.NewEncoder(s.out).Encode(r)
	case len(s.changes) == 0:
		s.say("Nothing to do: %s", nothing)
	default:
		s.say("%s", something)
	}
	return nil
}

// complete fills in what was not given and checks what was. Towards is host:port of a host whose side of this one matters.
func (s *setup) complete(ctx context.Context, towards string) (err error) {
	if s.configDir, err = filepath.Abs(s.configDir); err != nil {
		return fmt.Errorf("--config-dir: %w", err)
	}
	if s.address == "" {
		if s.address, err = addressTowards(ctx, towards); err != nil {
			return fmt.Errorf("%w; or give it with --address", err)
		}
	}
	address, err := netip.ParseAddr(s.address)
	if err != nil || address.IsUnspecified() {
		return fmt.Errorf("--address %q: %w: not an IP address of this host", s.address, cluster.ErrInvalid)
	}
	if s.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("this host's name: %w", err)
		}
		s.name, _, _ = strings.Cut(host, ".")
	}
	return nil
}

// identity makes NAME.crt and NAME.key in dir unless they are there and of this cluster.
func (s *setup) identity(dir, name string, issue func() (pki.Issued, error)) error {
	files := pki.FilesIn(dir, name)
	switch have, err := present(files.Cert, files.Key); {
	case err != nil:
		return err
	case have == 2:
		_, err := pki.LoadFiles(files)
		return err
	case have == 1:
		return fmt.Errorf("%w: only one of %s and %s is there; remove it and run this again", cluster.ErrPrecondition, files.Cert, files.Key)
	}
	issued, err := issue()
	if err != nil {
		return err
	}
	if err := issued.Write(dir, name); err != nil {
		return err
	}
	s.did("made %s", files.Cert)
	return nil
}

// agentConfig writes agent.yml unless there is one, which then must be readable.
func (s *setup) agentConfig(control []string) error {
	path := filepath.Join(s.configDir, "agent.yml")
	have, err := present(path)
	if err != nil {
		return err
	}
	if have == 1 {
		_, err := readAgentConfig(path)
		return err
	}
	c, err := s.newAgentConfig(control)
	if err != nil {
		return err
	}
	text, err := c.encode()
	if err != nil {
		return err
	}
	if _, err := parseAgentConfig(text); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return s.file(path, text)
}

func (s *setup) newAgentConfig(control []string) (agentConfig, error) {
	c := agentConfig{Version: 1, Node: nodeConfig{Name: s.name, Address: s.address}}
	if err := c.Control.set(control); err != nil {
		return agentConfig{}, err
	}
	return c, c.setStorages(s.backend, s.further, s.options)
}

// start starts one of Flocker's processes unless it runs.
func (s *setup) start(ctx context.Context, host starter, command string, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	svc := service.Service{Name: "flocker-" + command, Program: program, Command: command}
	if s.configDir != defaultConfigDir {
		svc.Args = args
	}
	started, err := host.Start(ctx, svc)
	if started {
		s.did("started %s (log: %s)", svc.Name, host.Logs(svc))
	}
	return err
}

func (s *setup) startAgent(ctx context.Context) error {
	return s.start(ctx, thisHost(), "agent", "--agent-config", filepath.Join(s.configDir, "agent.yml"))
}

func thisHost() starter {
	if service.Systemd() {
		return service.NewUnits()
	}
	return service.Processes{RunDir: "/run/flocker", LogDir: "/var/log/flocker"}
}
