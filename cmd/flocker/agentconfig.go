// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/dockerplugin"
)

const maxAgentConfig = 1 << 20

// agentConfig is agent.yml: the original's, and under "node" and "control-service.endpoints" what ours adds. As in the
// original, unknown keys are tolerated, except those of the backend.
type agentConfig struct {
	Version float64       `yaml:"version"` // the original's schema has a number
	Control controlConfig `yaml:"control-service"`
	Dataset storageConfig `yaml:"dataset"`
	// Backends are the node's back ends beside that, by name.
	Backends map[string]storageConfig `yaml:"backends,omitempty"`
	Node     nodeConfig               `yaml:"node,omitempty"`
	Docker   dockerPluginConfig       `yaml:"docker_plugin,omitempty"`
}

// dockerPluginConfig is how this node's Docker reaches its volumes.
type dockerPluginConfig struct {
	Socket   string `yaml:"socket,omitempty"` // empty is where Docker looks for a driver named flocker
	Disabled bool   `yaml:"disabled,omitempty"`
}

// listen makes the socket; nil where there is to be none.
func (c dockerPluginConfig) listen(ctx context.Context) (net.Listener, error) {
	if c.Disabled {
		return nil, nil
	}
	return dockerplugin.Listen(ctx, cmp.Or(c.Socket, dockerplugin.DefaultSocket))
}

type controlConfig struct {
	Hostname string `yaml:"hostname"`
	Port     int    `yaml:"port"`
	// Endpoints are host:port of all control processes; when given, they are used in place of the two above.
	Endpoints []string `yaml:"endpoints,omitempty,flow"`
}

// set takes the addresses of the control service; the first is in the original's two keys.
func (c *controlConfig) set(endpoints []string) error {
	if len(endpoints) == 0 {
		return fmt.Errorf("%w: no address of the control service", cluster.ErrInvalid)
	}
	host, port, err := net.SplitHostPort(endpoints[0])
	if err != nil {
		return fmt.Errorf("control service: %w: %w", cluster.ErrInvalid, err)
	}
	c.Hostname = host
	if c.Port, err = strconv.Atoi(port); err != nil {
		return fmt.Errorf("control service: %w: %w", cluster.ErrInvalid, err)
	}
	if len(endpoints) > 1 {
		c.Endpoints = endpoints
	}
	return nil
}

type nodeConfig struct {
	Name    string `yaml:"name,omitempty"`    // empty is the host's name
	Address string `yaml:"address,omitempty"` // empty is the one from which control is reached
}

func readAgentConfig(path string) (agentConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return agentConfig{}, fmt.Errorf("read the agent's configuration: %w", err)
	}
	c, err := parseAgentConfig(text)
	if err != nil {
		return agentConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parseAgentConfig(text []byte) (agentConfig, error) {
	if len(text) > maxAgentConfig {
		return agentConfig{}, fmt.Errorf("%w: longer than %d bytes", cluster.ErrInvalid, maxAgentConfig)
	}
	c := agentConfig{Control: controlConfig{Port: api.AgentPort}}
	if err := yaml.Load(text, &c); err != nil {
		return agentConfig{}, yamlProblem(err)
	}
	return c, c.check()
}

func (c agentConfig) check() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &cluster.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if c.Version != 1 {
		bad("version", "must be 1")
	}
	if len(c.Control.Endpoints) == 0 && !hostName().MatchString(c.Control.Hostname) {
		bad("control-service.hostname", "%q is neither a host name nor an address", c.Control.Hostname)
	}
	if c.Control.Port < 1 || c.Control.Port > 65535 {
		bad("control-service.port", "%d is no port", c.Control.Port)
	}
	for i, endpoint := range c.Control.Endpoints {
		host, port, err := net.SplitHostPort(endpoint)
		if number, bad2 := strconv.Atoi(port); err != nil || bad2 != nil || number < 1 || number > 65535 || !hostName().MatchString(host) {
			bad(fmt.Sprintf("control-service.endpoints[%d]", i), "%q is not host:port", endpoint)
		}
	}
	if _, err := netip.ParseAddr(c.Node.Address); c.Node.Address != "" && err != nil {
		bad("node.address", "%q is no IP address", c.Node.Address)
	}
	if s := c.Docker.Socket; s != "" && !filepath.IsAbs(s) {
		bad("docker_plugin.socket", "%q is no absolute path", s)
	}
	c.checkStorages(bad)
	return errors.Join(errs...)
}

// endpoints are host:port of the control service for agents.
func (c agentConfig) endpoints() []string {
	if len(c.Control.Endpoints) > 0 {
		return c.Control.Endpoints
	}
	return []string{net.JoinHostPort(c.Control.Hostname, strconv.Itoa(c.Control.Port))}
}

// encode is the text of an agent.yml.
func (c agentConfig) encode() ([]byte, error) {
	text, err := yaml.Dump(c)
	if err != nil {
		return nil, fmt.Errorf("write the agent's configuration: %w", err)
	}
	return text, nil
}

// hostName takes names, IPv4 and IPv6 addresses.
func hostName() *regexp.Regexp {
	return regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$`)
}

// yamlProblem names the lines of what could not be read, in words that need no knowledge of Go.
func yamlProblem(err error) error {
	all, ok := errors.AsType[*yaml.LoadErrors](err)
	if !ok {
		return fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	var errs []error
	for _, one := range all.Errors {
		problem := &cluster.FieldError{Line: one.Mark.Line, Problem: one.Message}
		if words := unknownKey().FindStringSubmatch(one.Message); words != nil {
			problem.Field, problem.Problem = words[1], "unknown key"
		} else if words := wrongType().FindStringSubmatch(one.Message); words != nil {
			problem.Problem = words[1] + " is of the wrong type"
		}
		errs = append(errs, problem)
	}
	return errors.Join(errs...)
}

func unknownKey() *regexp.Regexp { return regexp.MustCompile(`^field (\S+) not found in type `) }

func wrongType() *regexp.Regexp { return regexp.MustCompile(`^cannot construct !!(.+) into `) }
