// SPDX-License-Identifier: Apache-2.0

// Package lab uses a development cluster as a person would: through the flocker
// program and nothing else.
package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/internal/run"
)

// Lab is a development cluster. Make it with Up.
type Lab struct {
	Binary string // the flocker program
	Name   string // of the development cluster
	Nodes  int
	Link   string // rate of the links; empty leaves them as they are
	// Backend is the nodes' storage; empty is the usual one.
	Backend string
	// Further are back ends beside it, as NAME=BACKEND.
	Further []string
	// Options are options of the back ends, as KEY=VALUE or NAME.KEY=VALUE.
	Options []string
	// Output, where set, gets what the program says while it works.
	Output io.Writer

	env      []string
	machines map[string]devcluster.Node
}

// Up brings the cluster up, or repairs it, and waits until every node is alive.
func (l *Lab) Up(ctx context.Context) error {
	args := []string{"up", "--nodes", strconv.Itoa(l.Nodes)}
	if l.Link != "" {
		args = append(args, "--link", l.Link)
	}
	if l.Backend != "" {
		args = append(args, "--backend", l.Backend)
	}
	for _, further := range l.Further {
		args = append(args, "--further-backend", further)
	}
	for _, option := range l.Options {
		args = append(args, "--backend-option", option)
	}
	if _, err := l.Dev(ctx, args...); err != nil {
		return err
	}
	if err := l.findEnv(ctx); err != nil {
		return err
	}
	if err := l.findAddresses(ctx); err != nil {
		return err
	}
	return l.WaitAlive(ctx, l.Nodes)
}

func (l *Lab) findEnv(ctx context.Context) error {
	out, err := l.Dev(ctx, "env")
	if err != nil {
		return err
	}
	l.env = os.Environ()
	for line := range strings.Lines(string(out)) {
		l.env = append(l.env, strings.TrimSpace(strings.TrimPrefix(line, "export ")))
	}
	return nil
}

func (l *Lab) findAddresses(ctx context.Context) error {
	out, err := l.Dev(ctx, "status", "--json")
	if err != nil {
		return err
	}
	var status struct {
		Machines []devcluster.Node `json:"machines"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return fmt.Errorf("flocker dev status: %w", err)
	}
	l.machines = map[string]devcluster.Node{}
	for _, m := range status.Machines {
		l.machines[m.Name] = m
	}
	return nil
}

// Down removes the cluster.
func (l *Lab) Down(ctx context.Context) error {
	_, err := l.Dev(ctx, "down")
	return err
}

// Dev runs a "flocker dev" command on this cluster.
func (l *Lab) Dev(ctx context.Context, args ...string) ([]byte, error) {
	return l.run(ctx, nil, append([]string{"dev", "--name", l.Name}, args...)...)
}

// Exec runs a command in a node.
func (l *Lab) Exec(ctx context.Context, node string, command ...string) ([]byte, error) {
	return l.Dev(ctx, append([]string{"exec", node, "--"}, command...)...)
}

// Flocker runs the program as the cluster's administrator.
func (l *Lab) Flocker(ctx context.Context, args ...string) ([]byte, error) {
	return l.run(ctx, l.Output, args...)
}

// JSON runs the program with --json and reads the one document it prints.
func (l *Lab) JSON(ctx context.Context, into any, args ...string) error {
	out, err := l.run(ctx, nil, append(args, "--json")...)
	if len(out) > 0 {
		if bad := json.Unmarshal(out, into); bad != nil {
			return errors.Join(err, fmt.Errorf("flocker %s printed no JSON: %w", strings.Join(args, " "), bad))
		}
	}
	return err
}

func (l *Lab) run(ctx context.Context, also io.Writer, args ...string) ([]byte, error) {
	var out bytes.Buffer
	cmd := run.Command(ctx, l.Binary, args...)
	cmd.Env = l.env
	cmd.Stdout = &out
	if also != nil {
		cmd.Stdout = io.MultiWriter(&out, also)
		cmd.Stderr = also
	}
	err := cmd.Run()
	return out.Bytes(), err
}

// Address is where a node or a published port on it is reached.
func (l *Lab) Address(node string) string { return l.machines[node].Address.String() }

// Everywhere lists a port on every node.
func (l *Lab) Everywhere(port int) []string {
	var all []string
	for i := range l.Nodes {
		all = append(all, net.JoinHostPort(l.Address(Node(i+1)), strconv.Itoa(port)))
	}
	return all
}

// Everywhere6 lists a port on every node, by their IPv6 addresses. There is none where this machine has no IPv6.
func (l *Lab) Everywhere6(port int) []string {
	var all []string
	for i := range l.Nodes {
		if address := l.machines[Node(i+1)].Address6; address.IsValid() {
			all = append(all, net.JoinHostPort(address.String(), strconv.Itoa(port)))
		}
	}
	return all
}

// Node names the n-th node, from 1.
func Node(n int) string { return "node" + strconv.Itoa(n) }

// Deploy writes the two files and deploys them, and waits until all runs.
func (l *Lab) Deploy(ctx context.Context, application, deployment string) error {
	dir, err := os.MkdirTemp("", "flocker-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // two small files in the temporary folder
	app, dep := filepath.Join(dir, "application.yml"), filepath.Join(dir, "deployment.yml")
	if err := errors.Join(os.WriteFile(app, []byte(application), 0o600), os.WriteFile(dep, []byte(deployment), 0o600)); err != nil {
		return err
	}
	_, err = l.Flocker(ctx, "deploy", app, dep, "--wait")
	return err
}

// Move moves an application and returns the move as it ended, also when it failed.
func (l *Lab) Move(ctx context.Context, app, node string, flags ...string) (api.MoveInfo, error) {
	var m api.MoveInfo
	err := l.JSON(ctx, &m, append([]string{"move", app, node}, flags...)...)
	return m, err
}

// Status is what the whole cluster looks like.
func (l *Lab) Status(ctx context.Context) (api.Status, error) {
	var s api.Status
	err := l.JSON(ctx, &s, "status")
	return s, err
}

// WaitAlive waits until so many nodes hold a session.
func (l *Lab) WaitAlive(ctx context.Context, nodes int) error {
	return l.Until(ctx, fmt.Sprintf("%d nodes alive", nodes), func() (bool, error) {
		s, err := l.Status(ctx)
		alive := 0
		for _, n := range s.Nodes {
			if n.IsAlive && n.Storage.Backend != "" {
				alive++
			}
		}
		return alive >= nodes, err
	})
}

// Until asks again and again until the answer is yes, or ctx ends; then it says what was waited for and the last error.
func (l *Lab) Until(ctx context.Context, what string, ask func() (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		if ctx.Err() == nil {
			last = err // what comes of the end itself says nothing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-tick.C:
		}
	}
}
