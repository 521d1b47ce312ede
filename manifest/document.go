// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/cluster"
)

// Limits of one file. Aliases count each time they are used.
const (
	maxBytes    = 1 << 20
	maxVisits   = 200_000
	maxProblems = 20
)

// document is one file and what is wrong with it.
type document struct {
	file   string
	root   object
	found  []*cluster.FieldError
	failed map[string]bool
	lines  map[string]int    // of each field that was read
	called map[string]string // what a field of cluster's is called in the file, where that differs
	visits int
}

// load reads a file as far as its outermost keys.
func load(s Source) (*document, error) {
	d := &document{file: s.Name, failed: map[string]bool{}, lines: map[string]int{}, called: map[string]string{}}
	if len(s.Text) > maxBytes {
		d.bad("", 0, "is larger than %d KiB", maxBytes>>10)
		return d, d.err()
	}
	var top yaml.Node
	if err := yaml.Load(s.Text, &top); err != nil {
		d.syntax(err)
		return d, d.err()
	}
	node := &top
	if top.Kind == yaml.DocumentNode && len(top.Content) == 1 {
		node = top.Content[0]
	}
	root, ok := d.object("", node)
	if !ok {
		return d, d.err()
	}
	d.root = root
	return d, nil
}

// syntax adds what the parser says, in its own words.
func (d *document) syntax(err error) {
	problem, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		d.bad("", 0, "cannot be read: %v", err)
		return
	}
	text := strings.TrimPrefix(problem.Message, "yaml: ")
	switch text {
	case "no documents in stream":
		d.bad("", 0, "is empty")
	case "expected single document, found multiple":
		d.bad("", 0, "holds more than one document")
	default:
		d.bad("", max(problem.Mark.Line, 0), "is not YAML: %s", text)
	}
}

func (d *document) bad(path string, line int, format string, args ...any) {
	d.failed[path] = true
	d.found = append(d.found, &cluster.FieldError{Field: path, Line: line, Problem: fmt.Sprintf(format, args...)})
}

// judge adds what is wrong with a value that was read, at the line where it was read.
func (d *document) judge(err error) {
	for _, e := range cluster.FieldErrors(err) {
		path, line := d.place(e.Field)
		if !d.failed[path] {
			d.bad(path, line, "%s", e.Problem)
		}
	}
}

// place finds how and where the file has a field, or what the field is part of.
func (d *document) place(field string) (path string, line int) {
	for part := field; part != ""; part = part[:max(strings.LastIndexAny(part, ".["), 0)] {
		if called := d.called[part]; called != "" {
			part, field = called, called+strings.TrimPrefix(field, part)
		}
		if line := d.lines[part]; line > 0 {
			return field, line
		}
	}
	return field, 0
}

// err is everything that was found, in the order of the lines.
func (d *document) err() error {
	slices.SortStableFunc(d.found, func(a, b *cluster.FieldError) int { return a.Line - b.Line })
	var errs []error
	for i, e := range d.found {
		if i == maxProblems {
			errs = append(errs, fmt.Errorf("%s: %w: and %d more", d.file, cluster.ErrInvalid, len(d.found)-i))
			break
		}
		errs = append(errs, fmt.Errorf("%s: %w", d.file, e))
	}
	return errors.Join(errs...)
}

// resolve follows an alias; a file that uses too many of them is read no further.
func (d *document) resolve(n *yaml.Node) (*yaml.Node, bool) {
	if d.visits++; d.visits > maxVisits {
		if d.visits == maxVisits+1 {
			d.bad("", n.Line, "the file has too many parts, each use of an alias counted")
		}
		return nil, false
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias, n.Alias != nil
	}
	return n, true
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	case n.ShortTag() == "!!str":
		return fmt.Sprintf("the text %.40q", n.Value)
	}
	return fmt.Sprintf("%.40s (%s)", n.Value, strings.TrimPrefix(n.ShortTag(), "!!"))
}
