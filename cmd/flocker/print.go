// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flocker-project/flocker/cluster"
)

// printer writes a command's answer, for people or for programs.
type printer struct {
	out      io.Writer
	json     bool
	terminal bool // out is one, with room for bars
	log      *slog.Logger
}

func newPrinter(cmd *cobra.Command) printer {
	out := cmd.OutOrStdout()
	return printer{out: out, json: wantsJSON(cmd), terminal: hasRoom(out), log: newLogger(cmd)}
}

func wantsJSON(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("json")
	return f != nil && f.Value.String() == "true"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// hasRoom says whether out is a terminal on which bars can be seen: some have no size.
func hasRoom(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width >= 40 && height >= 2
}

// newLogger writes to standard error: colours on a terminal, JSON with --json.
func newLogger(cmd *cobra.Command) *slog.Logger {
	var level slog.Level
	plain := os.Getenv("NO_COLOR") != ""
	if f := cmd.Flags().Lookup("log-level"); f != nil {
		if err := level.UnmarshalText([]byte(f.Value.String())); err != nil {
			level = slog.LevelInfo
		}
	}
	if f := cmd.Flags().Lookup("no-color"); f != nil && f.Value.String() == "true" {
		plain = true
	}
	if wantsJSON(cmd) {
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	}
	if !isTerminal(os.Stderr) {
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(cmd.ErrOrStderr(), &tint.Options{Level: level, NoColor: plain, TimeFormat: time.TimeOnly}))
}

// show writes v as JSON when that is asked for, else calls text.
func (p printer) show(v any, text func() error) error {
	if !p.json {
		return text()
	}
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line writes one document of a stream.
func (p printer) line(v any, text string) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(v)
	}
	return p.say("%s", text)
}

func (p printer) say(format string, args ...any) error {
	_, err := fmt.Fprintf(p.out, format+"\n", args...)
	return err
}

// table is columns as docker writes them.
type table struct{ w *tabwriter.Writer }

func (p printer) table(headers ...string) table {
	t := table{tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)}
	if len(headers) > 0 {
		t.row(headers...)
	}
	return t
}

func (t table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = orDash(strings.Join(strings.Fields(c), " "))
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t table) end() error { return t.w.Flush() }

// short is enough of a UUID to name it.
func short(id string) string { return id[:min(len(id), 8)] }

func bytesOf(n int64) string {
	if n <= 0 {
		return ""
	}
	return cluster.FormatSize(n)
}

// took writes a duration with three digits at most.
func took[D ~int64](d D) string {
	t := time.Duration(d)
	switch {
	case t <= 0:
		return ""
	case t < time.Second:
		return t.Round(time.Millisecond).String()
	case t < 10*time.Second:
		return t.Round(10 * time.Millisecond).String()
	}
	return t.Round(time.Second).String()
}

// ago writes how long ago something was.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Since(t)
	switch {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}
