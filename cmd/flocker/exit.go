// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/devcluster"
)

// The exit codes, as documented in docs/cli.md.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitUnavailable = 5
	exitMoveFailed  = 6
	exitForbidden   = 7
	exitInterrupted = 130
)

// usageError is a wrong use of a command.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// moveError is a move that did not come to its target; the applications go on where they were.
type moveError struct{ move api.MoveInfo }

func (e *moveError) Error() string {
	end := "was aborted"
	if e.move.Phase == cluster.MoveTakenBack {
		end = "was taken back"
	}
	reason := e.move.Reason
	if reason == "" {
		reason = "no reason was given"
	}
	return fmt.Sprintf("move of %s to node %s %s, so that it stays on node %s: %s",
		moved(e.move), e.move.TargetName, end, e.move.SourceName, reason)
}

// exitCode is what a script can tell the error by.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case isA[*usageError](err), errors.Is(err, cluster.ErrInvalid):
		return exitUsage
	case isA[*moveError](err):
		return exitMoveFailed
	case errors.Is(err, cluster.ErrNotFound):
		return exitNotFound
	case errors.Is(err, cluster.ErrConflict), errors.Is(err, cluster.ErrExists), errors.Is(err, cluster.ErrPrecondition):
		return exitConflict
	case errors.Is(err, cluster.ErrForbidden):
		return exitForbidden
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, cluster.ErrUnavailable):
		return exitUnavailable
	}
	return exitFailed
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// report tells the error, with what to do about it, and returns the exit code.
func report(w io.Writer, cmd *cobra.Command, err error) int {
	if exit, ok := errors.AsType[*devcluster.ExitError](err); ok && exit.Stderr == "" {
		return exit.Code
	}
	code := exitCode(err)
	switch {
	case err == nil || code == exitInterrupted && strings.HasSuffix(err.Error(), context.Canceled.Error()):
	case cmd != nil && wantsJSON(cmd):
		_ = json.NewEncoder(w).Encode(map[string]any{"error": plainly(err), "exit_code": code, "fields": fieldsOf(err)}) // nowhere is left to say so
	default:
		fmt.Fprintln(w, "flocker:", plainly(err))
		for _, f := range fieldsOf(err) {
			if isA[*api.Problem](err) && !strings.Contains(err.Error(), f.Problem) {
				fmt.Fprintln(w, " ", f)
			}
		}
		if hint := remedy(err, cmd); hint != "" {
			fmt.Fprintln(w, hint)
		}
	}
	return code
}

// plainly is the error without the requests it came from.
func plainly(err error) string {
	return regexp.MustCompile(`\b(GET|POST|PUT|PATCH|DELETE) /v2/[^ ]*: `).ReplaceAllString(err.Error(), "")
}

// fieldsOf are the places of bad input, found here or by the control service.
func fieldsOf(err error) []*cluster.FieldError {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return p.Fields
	}
	return cluster.FieldErrors(err)
}

// remedy is what to do next, where that is known.
func remedy(err error, cmd *cobra.Command) string {
	problem, answered := errors.AsType[*api.Problem](err)
	switch {
	case isA[*usageError](err) && cmd != nil:
		return fmt.Sprintf("Usage: %s\nSee \"%s --help\".", cmd.UseLine(), cmd.CommandPath())
	case answered && problem.Move != nil && !problem.Move.Phase.Terminal():
		return fmt.Sprintf("See that move with \"flocker moves %s\", or cancel it with \"flocker moves cancel %[1]s\".", short(string(problem.Move.ID)))
	case errors.Is(err, cluster.ErrUnavailable) && !answered:
		return "Is the control service running, and is this its address? What runs goes on running without it."
	}
	return ""
}
