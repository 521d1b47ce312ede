// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/cluster"
)

const userConfigFile = "config.yml"

// userConfig is config.yml in a user's folder, usually ~/.flocker: where the cluster is and who the user is.
type userConfig struct {
	Version int      `yaml:"version"`
	Control []string `yaml:"control,flow"` // host:port of the API
	// Certificates is the folder with cluster.crt, user.crt and user.key; relative to the file's own, which it is when empty,
	// so that the folder can be copied to another machine.
	Certificates string `yaml:"certificates,omitempty"`
}

// userConfigDir is the folder of this user's configuration.
func userConfigDir() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("the folder of the command line's configuration: %w", err)
	}
	return filepath.Join(home, ".flocker"), nil
}

func readUserConfig(dir string) (userConfig, error) {
	path := filepath.Join(dir, userConfigFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return userConfig{}, fmt.Errorf("read the command line's configuration: %w", err)
	}
	var c userConfig
	if err := yaml.Load(text, &c, yaml.WithKnownFields()); err != nil {
		return userConfig{}, fmt.Errorf("%s: %w", path, yamlProblem(err))
	}
	if err := c.check(); err != nil {
		return userConfig{}, fmt.Errorf("%s: %w", path, err)
	}
	if c.Certificates = cmp.Or(c.Certificates, "."); !filepath.IsAbs(c.Certificates) {
		c.Certificates = filepath.Join(dir, c.Certificates)
	}
	return c, nil
}

func (c userConfig) check() error {
	if c.Version != 1 {
		return &cluster.FieldError{Field: "version", Problem: "must be 1"}
	}
	if len(c.Control) == 0 {
		return &cluster.FieldError{Field: "control", Problem: "no address of the control service"}
	}
	for i, endpoint := range c.Control {
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			return &cluster.FieldError{Field: fmt.Sprintf("control[%d]", i), Problem: fmt.Sprintf("%q is not host:port", endpoint)}
		}
	}
	return nil
}

// encode is the text of a config.yml.
func (c userConfig) encode() ([]byte, error) {
	text, err := yaml.Dump(c)
	if err != nil {
		return nil, fmt.Errorf("write the command line's configuration: %w", err)
	}
	return text, nil
}
