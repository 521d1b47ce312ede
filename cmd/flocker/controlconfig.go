// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// controlFile is where flocker init tells the control service, which a host's service manager starts without flags, what
// the cluster was made with. It is beside the certificates, and need not be there.
const controlFile = "control.yml"

// madeWith is control.yml. What is empty was left to the control service.
type madeWith struct {
	Version int    `yaml:"version"`
	Subnet  string `yaml:"subnet,omitempty"`
	Subnet6 string `yaml:"subnet6,omitempty"` // or "none"
}

// readControlFile returns nothing where there is no file.
func readControlFile(dir string) (madeWith, error) {
	path := filepath.Join(dir, controlFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return madeWith{}, nil
	}
	if err != nil {
		return madeWith{}, fmt.Errorf("read the control service's configuration: %w", err)
	}
	var c madeWith
	if err := yaml.Load(text, &c, yaml.WithKnownFields()); err != nil {
		return madeWith{}, fmt.Errorf("%s: %w", path, yamlProblem(err))
	}
	if c.Version != 1 {
		return madeWith{}, fmt.Errorf("%s: %w", path, &cluster.FieldError{Field: "version", Problem: "must be 1"})
	}
	if err := errors.Join(checkSubnet(c.Subnet), checkSubnet6(c.Subnet6)); err != nil {
		return madeWith{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// checkSubnet takes one that was given, and none.
func checkSubnet(text string) error {
	if text == "" {
		return nil
	}
	_, err := cluster.ParseSubnet(text)
	return err
}

// checkSubnet6 takes one that was given, the words for the others, and none. A cluster's own need not be known for that.
func checkSubnet6(text string) error {
	_, err := cluster.ChooseSubnet6(text, "")
	return err
}

// subnet6Usage explains the flag, up to its default.
const subnet6Usage = "IPv6 subnet of /64 from which applications have a second address on hosts with IPv6, \"" + cluster.Subnet6None +
	"\", or \"" + cluster.Subnet6Auto + "\" for one of the cluster's own"

// chosen is one subnet that a flag can choose.
type chosen struct{ flag, given, kept string }

// keepSubnets writes the subnets that the cluster is made with. Once the control service is set up here they can no longer be
// chosen: the service may have run, and its addresses are in use.
func (o *initOptions) keepSubnets() error {
	if err := checkSubnet(o.subnet); err != nil {
		return fmt.Errorf("--subnet: %w", err)
	}
	if err := checkSubnet6(o.subnet6); err != nil {
		return fmt.Errorf("--subnet6: %w", err)
	}
	c, err := readControlFile(o.configDir)
	if err != nil {
		return err
	}
	six := o.subnet6
	if six == cluster.Subnet6Auto {
		six = "" // what the control service does by itself
	}
	path := filepath.Join(o.configDir, controlFile)
	isNew := false
	for _, s := range []chosen{{"--subnet", o.subnet, c.Subnet}, {"--subnet6", six, c.Subnet6}} {
		if s.given == "" || s.given == s.kept {
			continue
		}
		if err := o.mayChoose(s, path); err != nil {
			return err
		}
		isNew = true
	}
	if !isNew {
		return nil
	}
	text, err := yaml.Dump(madeWith{Version: 1, Subnet: cmp.Or(o.subnet, c.Subnet), Subnet6: cmp.Or(six, c.Subnet6)})
	if err != nil {
		return fmt.Errorf("write the control service's configuration: %w", err)
	}
	return o.file(path, text)
}

func (o *initOptions) mayChoose(s chosen, path string) error {
	if s.kept != "" {
		return fmt.Errorf("%s %s: %w: this cluster was made with %s, as %s says, and that cannot be changed; leave %s out",
			s.flag, s.given, cluster.ErrConflict, s.kept, path, s.flag)
	}
	certificate := pki.FilesIn(o.configDir, pki.ControlName).Cert
	switch have, err := present(certificate); {
	case err != nil:
		return err
	case have > 0:
		return fmt.Errorf("%s %s: %w: this cluster was made already, as %s shows, and its subnet cannot be changed; "+
			"leave %s out, and see \"flocker status --json\" for the one it has", s.flag, s.given, cluster.ErrConflict, certificate, s.flag)
	}
	return nil
}
