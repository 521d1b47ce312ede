// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/all"
	"github.com/flocker-project/flocker/pki"
)

// A node that does not answer within that has no answer; its store may take a while to say that it is away.
const (
	checkWithin = 90 * time.Second
	reachWithin = 45 * time.Second
)

func backendCheckCommand() *cobra.Command {
	var here bool
	var config string
	cmd := &cobra.Command{
		Use:   "check [NODE]",
		Short: "Say what of the nodes' storage works, what is missing, and the remedy",
		Long: `Say what of the nodes' storage works, what is missing, and the remedy. Every node looks when it is asked: at the programs, the
kernel and the user that its storage needs, and whether its store answers now. The exit code is 1 if anything is missing.

With --here, this host looks at itself by its own agent.yml, without a cluster: for an agent that does not start.`,
		Example:           "  flocker backend check\n  flocker backend check node2\n  flocker backend check --here",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeArgs(nodeNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := newPrinter(cmd)
			if !here {
				return withClient(checkNodes)(cmd, args)
			}
			if len(args) > 0 {
				return &usageError{cmd, errors.New("--here looks at this host, not at a node that is named")}
			}
			checks, err := checkHere(cmd.Context(), config, p.log)
			if err != nil {
				return err
			}
			return p.checks(checks)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&here, "here", false, "look at this host, by its agent.yml")
	f.StringVarP(&config, "agent-config", "c", filepath.Join(defaultConfigDir, "agent.yml"), "with --here: the agent's configuration")
	addConnection(cmd)
	return cmd
}

// checkNodes asks all nodes at once, or one.
func checkNodes(ctx context.Context, c *api.Client, p printer, args []string) error {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return errors.New("there are no nodes; where an agent does not start, run on its host: flocker backend check --here")
	}
	if len(args) == 1 {
		n, err := nodeNamed(nodes, args[0])
		if err != nil {
			return err
		}
		nodes = []api.NodeInfo{n}
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	reports := make([][]api.Check, len(nodes))
	var asked sync.WaitGroup
	for i, n := range nodes {
		asked.Go(func() { reports[i] = checkNode(ctx, c, n) })
	}
	asked.Wait()
	checks := []api.Check{}
	for _, r := range reports {
		checks = append(checks, r...)
	}
	return p.checks(checks)
}

// checkNode makes a check of whether the node answers too: one that does not cannot be said to lack nothing.
func checkNode(ctx context.Context, c *api.Client, n api.NodeInfo) []api.Check {
	report, err := c.NodeStorage(ctx, string(n.ID))
	agent := api.Check{Name: "agent", Object: n.Version, Node: n.Name, OK: err == nil, Found: "it answers"}
	if err != nil {
		agent.Found, agent.Problem = "", plainly(err)
		agent.Remedy = "start flocker-agent on that host; if it does not start, run there: flocker backend check --here"
	}
	return append([]api.Check{agent}, report.Checks...)
}

// checkHere looks at this host. Storage that is peer to peer is one process's at a time, which may be the agent.
func checkHere(ctx context.Context, path string, log *slog.Logger) ([]api.Check, error) {
	conf, err := readAgentConfig(path)
	if err != nil {
		return nil, err
	}
	kinds, err := all.Kinds(ctx)
	if err != nil {
		return nil, err
	}
	var checks []api.Check
	for _, s := range conf.storages() {
		kind, known := kindNamed(kinds, s.kind())
		if !known {
			checks = append(checks, api.Check{
				Name: "options", Object: s.name, Problem: fmt.Sprintf("this program has no storage %q", s.kind()),
				Remedy: fmt.Sprintf("name one of %v as its backend in %s", all.Names(), path),
			})
			continue
		}
		if kind.Capabilities.Attaches {
			problem := ""
			if err := reachHere(ctx, path, s, log); err != nil {
				problem = err.Error()
			}
			checks = append(checks, all.Reached(s.name, s.kind(), problem))
		}
		checks = append(checks, all.Check(ctx, s.kind(), s.options)...)
	}
	return checks, nil
}

func reachHere(ctx context.Context, path string, s namedStorage, log *slog.Logger) error {
	creds, err := pki.LoadCredentials(filepath.Dir(path), pki.NodeName)
	if err != nil {
		return fmt.Errorf("the node's certificate: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	pool, err := agentOptions{mountRoot: backend.DefaultMountRoot}.pool(ctx, s, creds, log)
	if err != nil {
		return err
	}
	return errors.Join(pool.Reach(ctx), pool.Close())
}

// checks prints them; what is missing makes the command fail.
func (p printer) checks(checks []api.Check) error {
	missing := 0
	for _, c := range checks {
		if !c.OK {
			missing++
		}
	}
	err := p.show(checks, func() error {
		t := p.table("NODE", "CHECK", "OF", "RESULT", "REMEDY")
		for _, c := range checks {
			result := "ok: " + c.Found
			if !c.OK {
				result = "not ok: " + c.Problem
			}
			t.row(c.Node, c.Name, c.Object, result, c.Remedy)
		}
		return t.end()
	})
	if err == nil && missing > 0 {
		err = fmt.Errorf("%d of %d checks failed", missing, len(checks))
	}
	return err
}
