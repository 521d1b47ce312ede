// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newMovesCommand() *cobra.Command {
	var watching bool
	cmd := &cobra.Command{
		Use:   "moves [MOVE]",
		Short: "List moves, or show one with each of its phases",
		Long: `List moves, newest first, or show one with each of its phases and its gap. A move is given by its UUID or the beginning
of that. With --watch, follow it, or every move that is under way, to its end.`,
		Example: `  flocker moves
  flocker moves 1f0c2a9e
  flocker moves 1f0c2a9e --watch
  flocker moves cancel 1f0c2a9e`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeArgs(moveNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			switch {
			case len(args) == 1:
				return showMove(ctx, c, p, args[0], watching)
			case watching:
				return watchMoves(ctx, c, p)
			}
			all, err := c.Moves(ctx)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.moves(all) })
		}),
	}
	addConnection(cmd)
	cmd.Flags().BoolVarP(&watching, "watch", "w", false, "follow to the end; with --json one line for each change")
	cmd.AddCommand(newMovesCancelCommand(), newMovesTakeBackCommand())
	return cmd
}

func newMovesCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "cancel MOVE",
		Short:             "Cancel a move before its hand-over; the application goes on where it is",
		Example:           "  flocker moves cancel 1f0c2a9e",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(moveNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			m, err := c.CancelMove(ctx, args[0])
			if err != nil {
				return err
			}
			return p.show(m, func() error {
				if m.Phase.Terminal() {
					return p.say("Move %s is %s.", short(string(m.ID)), m.Phase)
				}
				return p.say("Move %s is being cancelled.", short(string(m.ID)))
			})
		}),
	}
}

func newMovesTakeBackCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "take-back MOVE",
		Short: "Give a move that is handed over, but not committed, back to its source",
		Long: `Give a move that is handed over, but not committed, back to its source. A move does so by itself when the application does
not get ready; this is for not waiting any longer, for example when the target is cut off.`,
		Example:           "  flocker moves take-back 1f0c2a9e",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(moveNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			m, err := c.TakeMoveBack(ctx, args[0])
			if err != nil {
				return err
			}
			return p.show(m, func() error { return p.say("Move %s is %s.", short(string(m.ID)), m.Phase) })
		}),
	}
}

func showMove(ctx context.Context, c *api.Client, p printer, ref string, watching bool) error {
	if watching && p.json {
		return c.WatchMove(ctx, ref, func(m api.MoveInfo) error { return p.line(m, "") })
	}
	m, err := c.Move(ctx, ref)
	if err != nil {
		return err
	}
	if watching && !m.Phase.Terminal() {
		return followOne(ctx, c, p, m.ID)
	}
	return p.show(m, func() error { return p.move(m) })
}

func watchMoves(ctx context.Context, c *api.Client, p printer) error {
	all, err := c.Moves(ctx)
	if err != nil {
		return err
	}
	var ids []cluster.MoveID
	for _, m := range all {
		if !m.Phase.Terminal() {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) == 0 && !p.json {
		return p.say("No move is under way.")
	}
	return followAll(ctx, c, p, ids)
}

func (p printer) moves(all []api.MoveInfo) error {
	t := p.table("MOVE", "APPLICATIONS", "FROM", "TO", "STATE", "COPIED", "ROUNDS", "GAP", "BEGUN")
	for _, m := range all {
		r := cmp.Or(m.Report, &cluster.MoveReport{})
		t.row(short(string(m.ID)), moved(m), m.SourceName, m.TargetName, stateOfMove(m), bytesOf(r.Bytes), count(r.Rounds), took(r.Gap), ago(m.Created))
	}
	return t.end()
}

func stateOfMove(m api.MoveInfo) string {
	if m.Progress != nil && m.Phase.BeforeHandOver() {
		return doing(m) + copied(*m.Progress)
	}
	return doing(m)
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// move shows everything about a move.
func (p printer) move(m api.MoveInfo) error {
	t := p.table()
	t.row("Move:", string(m.ID))
	t.row("Applications:", strings.Join(m.Applications, ", "))
	t.row("From:", m.SourceName)
	t.row("To:", m.TargetName)
	t.row("Mode:", string(m.Mode))
	t.row("State:", stateOfMove(m))
	if m.Reason != "" {
		t.row("Reason:", m.Reason)
	}
	for _, w := range m.Waiting {
		t.row("Waiting:", w.Reason, w.Node)
	}
	t.row("By:", m.By)
	t.row("Begun:", m.Created.Local().Format(time.DateTime))
	if !m.Ended.IsZero() {
		t.row("Ended:", m.Ended.Local().Format(time.DateTime))
	}
	if err := t.end(); err != nil {
		return err
	}
	return p.report(m)
}

// ended says how a move ended.
func (p printer) ended(m api.MoveInfo) error {
	if outcome(m) != nil {
		return p.report(m) // the error says the rest
	}
	if err := p.report(m); err != nil {
		return err
	}
	text := fmt.Sprintf("%s moved from %s to %s", moved(m), m.SourceName, m.TargetName)
	if !m.Ended.IsZero() {
		text += " in " + took(m.Ended.Sub(m.Created))
	}
	if r := m.Report; r != nil && r.Gap > 0 {
		text += fmt.Sprintf(", with a gap of %s", took(r.Gap))
	}
	return p.say("%s.", text)
}
