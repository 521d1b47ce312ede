// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// moveOptions are the flags of every command that may start a move.
type moveOptions struct {
	bandwidth    string
	gapBudget    time.Duration
	readyTimeout time.Duration
	maxRounds    int
}

func (o *moveOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.bandwidth, "bandwidth", "", "limit of the copy in bytes per second, such as 50MB (default: none)")
	f.DurationVar(&o.gapBudget, "gap-budget", 0, "copy again until the last changes are predicted to take no longer than this (default 100ms)")
	f.DurationVar(&o.readyTimeout, "ready-timeout", 0, "how long the application may take to be ready on the target before it is taken back (default 1m)")
	f.IntVar(&o.maxRounds, "max-rounds", 0, "most rounds of copying (default 10)")
}

func (o *moveOptions) options() (cluster.MoveOptions, error) {
	if o.gapBudget < 0 || o.readyTimeout < 0 || o.maxRounds < 0 {
		return cluster.MoveOptions{}, fmt.Errorf("--gap-budget, --ready-timeout and --max-rounds: %w: they cannot be negative", cluster.ErrInvalid)
	}
	limit, err := parseRate(o.bandwidth)
	return cluster.MoveOptions{
		GapBudget: cluster.Duration(o.gapBudget), ReadyTimeout: cluster.Duration(o.readyTimeout), Bandwidth: limit, MaxRounds: o.maxRounds,
	}, err
}

// parseRate reads bytes per second: 50MB and 50MB/s are 50 million, 50M and 50MiB are 50 times 1024 times 1024.
func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	rate := strings.TrimSuffix(text, "/s")
	var n int64
	var err error
	if number, unit := decimal(rate); unit > 0 {
		var f float64
		if f, err = strconv.ParseFloat(number, 64); err == nil && f*unit < math.MaxInt64/2 && strings.Trim(number, ".0123456789") == "" {
			n = int64(f * unit)
		}
	} else {
		n, err = cluster.ParseSize(strings.TrimSuffix(strings.TrimSuffix(rate, "iB"), "B"))
	}
	if err != nil || n < 1 {
		return 0, fmt.Errorf("--bandwidth %q: %w: give bytes per second such as 50MB", text, cluster.ErrInvalid)
	}
	return n, nil
}

// decimal is the number before a unit that is a power of 1000.
func decimal(text string) (number string, unit float64) {
	for suffix, unit := range map[string]float64{"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			return number, unit
		}
	}
	return "", 0
}

type moveCommand struct {
	moveOptions
	mode           string
	dryRun, noWait bool
	dataset        bool // what is moved is named by a dataset
}

func newMoveCommand() *cobra.Command {
	o := &moveCommand{}
	cmd := &cobra.Command{
		Use:   "move APPLICATION NODE",
		Short: "Move an application with its data to another node",
		Long: `Move an application with its data to another node, and follow the move to its end. Applications that share its data move
with it. The node is given as name, address, UUID or the beginning of that.

Until the hand-over the move can be cancelled, and whatever fails, the application goes on where it is. If it does not get
ready on the target, it is taken back by itself. The command may be interrupted: the move goes on.`,
		Example: `  flocker move postgres node2
  flocker move postgres node2 --dry-run
  flocker move postgres node2 --bandwidth 50MB --gap-budget 50ms
  flocker move postgres node2 --no-wait`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(applicationNames, nodeNames),
		RunE:              withClient(o.run),
	}
	addConnection(cmd)
	o.addFlags(cmd)
	return cmd
}

func (o *moveCommand) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only check both ends, and predict the gap")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "start the move and return")
	cmd.Flags().StringVar(&o.mode, "mode", "", "restart: stopped here, started there (default: auto)")
	o.flags(cmd)
}

func (o *moveCommand) run(ctx context.Context, c *api.Client, p printer, args []string) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	request := api.MoveRequest{Application: args[0], Node: args[1], Mode: cluster.MoveMode(o.mode), Options: options}
	if o.dataset {
		request.Application, request.Dataset = "", args[0]
	}
	if o.dryRun {
		return preflight(ctx, c, p, request, args[0])
	}
	m, err := c.CreateMove(ctx, request)
	if err != nil {
		return err
	}
	if o.noWait {
		return p.show(m, func() error {
			return p.say("Move %s has begun; follow it with \"flocker moves %[1]s --watch\".", short(string(m.ID)))
		})
	}
	return followOne(ctx, c, p, m.ID)
}

// preflight shows what a move would meet. It fails when the move would be refused.
func preflight(ctx context.Context, c *api.Client, p printer, request api.MoveRequest, what string) error {
	report, err := c.Preflight(ctx, request)
	if err != nil {
		return err
	}
	if err := p.show(report, func() error { return p.preflight(report, what, request.Node) }); err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("%s cannot be moved to %s as things are: %w", what, request.Node, cluster.ErrPrecondition)
	}
	return nil
}

func (p printer) preflight(r api.PreflightReport, what, node string) error {
	t := p.table("CHECK", "OBJECT", "NODE", "RESULT")
	for _, c := range r.Checks {
		result := "ok"
		if c.Problem != "" {
			result = c.Problem
			if c.Remedy != "" {
				result += "; " + c.Remedy
			}
		}
		if c.OK && c.Problem != "" {
			result = "ok, but " + result
		}
		t.row(c.Name, c.Object, c.Node, result)
	}
	if err := t.end(); err != nil || !r.OK() {
		return err
	}
	gap := "unknown"
	if r.PredictedGap > 0 {
		gap = took(r.PredictedGap)
	}
	if r.Basis != "" {
		gap += " (" + r.Basis + ")"
	}
	return p.say("%s can be moved to %s. To be copied before anything stops: %s. Predicted gap: %s.", what, node, cluster.FormatSize(r.Bytes), gap)
}
