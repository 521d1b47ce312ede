// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/all"
	"github.com/flocker-project/flocker/cluster"
)

// storageConfig is one back end in agent.yml: "backend" says of which kind, and everything beside it is an option of that.
type storageConfig map[string]yaml.Node

// kind is the back end's driver; empty where it is missing or no word.
func (s storageConfig) kind() string {
	node := s["backend"]
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str" {
		return ""
	}
	return node.Value
}

// options reads what is beside "backend" into a struct of the driver's; what it does not know is an error.
func (s storageConfig) options(into any) error {
	section := yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if key == "backend" {
			continue
		}
		value := s[key]
		section.Content = append(section.Content,
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key, Line: value.Line, Column: 1}, &value)
	}
	if err := section.Load(into, yaml.WithKnownFields()); err != nil {
		return fmt.Errorf("options of back end %s: %w", s.kind(), mistake{yamlProblem(err)})
	}
	return nil
}

// mistake is an error that is agent.yml's: trying again does not mend it.
type mistake struct{ error }

func (m mistake) Unwrap() error { return m.error }

func (m mistake) Is(target error) bool { return target == cluster.ErrInvalid }

// namedStorage is a back end as agent.yml has it.
type namedStorage struct {
	name string
	storageConfig
}

// storages are the node's back ends, the first one first; the first has the name of its kind.
func (c agentConfig) storages() []namedStorage {
	list := []namedStorage{{c.Dataset.kind(), c.Dataset}}
	for _, name := range slices.Sorted(maps.Keys(c.Backends)) {
		list = append(list, namedStorage{name, c.Backends[name]})
	}
	return list
}

// checkStorages says which back ends cannot be told apart or lack their kind.
func (c agentConfig) checkStorages(bad func(field, format string, args ...any)) {
	if c.Dataset.kind() == "" {
		bad("dataset.backend", "missing; for example btrfs")
	}
	for _, s := range c.storages()[1:] {
		field := "backends." + s.name
		switch {
		case !backendName().MatchString(s.name):
			bad(field, "%q is no name: letters, digits, - and _, at most 63", s.name)
		case s.name == c.Dataset.kind():
			bad(field, "is the name of the first back end, under dataset")
		case s.kind() == "":
			bad(field+".backend", "missing; for example btrfs")
		}
	}
}

func backendName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`) }

// checks looks for what the back ends need on this node; held is what each said of itself.
func (c agentConfig) checks(ctx context.Context, held backend.Contents) []api.Check {
	var checks []api.Check
	for _, s := range c.storages() {
		checks = append(checks, all.Reached(s.name, s.kind(), held.Back(s.name).Error))
		checks = append(checks, all.Check(ctx, s.kind(), s.options)...)
	}
	return checks
}

// storageFlags are those with which back ends are named on a command line, beside --backend.
func storageFlags(cmd *cobra.Command, further, options *[]string) {
	cmd.Flags().StringArrayVar(further, "further-backend", nil, "NAME=BACKEND, a back end beside the first; may be repeated")
	cmd.Flags().StringArrayVar(options, "backend-option", nil, "KEY=VALUE for the first back end, NAME.KEY=VALUE for a further one, as in agent.yml; may be repeated")
}

// setStorages takes back ends as a command line names them.
func (c *agentConfig) setStorages(first string, further, options []string) error {
	c.Dataset = storageOf(first)
	for _, text := range further {
		name, kind, ok := strings.Cut(text, "=")
		if _, twice := c.Backends[name]; !ok || name == "" || kind == "" || twice {
			return fmt.Errorf("--further-backend %q: %w: want NAME=BACKEND, each with a name of its own", text, cluster.ErrInvalid)
		}
		if c.Backends == nil {
			c.Backends = map[string]storageConfig{}
		}
		c.Backends[name] = storageOf(kind)
	}
	for _, option := range options {
		key, value, ok := strings.Cut(option, "=")
		into := c.Dataset
		if name, rest, dotted := strings.Cut(key, "."); dotted {
			into, key = c.Backends[name], rest
		}
		if !ok || key == "" || key == "backend" || into == nil {
			return fmt.Errorf("--backend-option %q: %w: want KEY=VALUE, or NAME.KEY=VALUE with a name of --further-backend", option, cluster.ErrInvalid)
		}
		var node yaml.Node
		if err := yaml.Load([]byte(value), &node); err != nil || len(node.Content) != 1 {
			return fmt.Errorf("--backend-option %q: %w: the value is no YAML value", option, cluster.ErrInvalid)
		}
		into[key] = *node.Content[0]
	}
	return nil
}

func storageOf(kind string) storageConfig {
	return storageConfig{"backend": {Kind: yaml.ScalarNode, Tag: "!!str", Value: kind}}
}
