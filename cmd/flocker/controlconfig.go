// SPDX-License-Identifier: Apache-2.0

package main

import (
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

// madeWith is control.yml.
type madeWith struct {
	Version int    `yaml:"version"`
	Subnet  string `yaml:"subnet,omitempty"`
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
	if c.Subnet == "" {
		return c, nil
	}
	if _, err := cluster.ParseSubnet(c.Subnet); err != nil {
		return madeWith{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// keepSubnet writes the subnet that the cluster is made with. Once the control service is set up here it can no longer be
// chosen: the service may have run, and its addresses are in use.
func (o *initOptions) keepSubnet() error {
	if o.subnet == "" {
		return nil
	}
	if _, err := cluster.ParseSubnet(o.subnet); err != nil {
		return fmt.Errorf("--subnet: %w", err)
	}
	c, err := readControlFile(o.configDir)
	if err != nil || c.Subnet == o.subnet {
		return err
	}
	path := filepath.Join(o.configDir, controlFile)
	if c.Subnet != "" {
		return fmt.Errorf("--subnet %s: %w: this cluster was made with %s, as %s says, and that cannot be changed; leave --subnet out",
			o.subnet, cluster.ErrConflict, c.Subnet, path)
	}
	certificate := pki.FilesIn(o.configDir, pki.ControlName).Cert
	switch have, err := present(certificate); {
	case err != nil:
		return err
	case have > 0:
		return fmt.Errorf("--subnet %s: %w: this cluster was made already, as %s shows, and its subnet cannot be changed; "+
			"leave --subnet out, and see \"flocker status --json\" for the one it has", o.subnet, cluster.ErrConflict, certificate)
	}
	text, err := yaml.Dump(madeWith{Version: 1, Subnet: o.subnet})
	if err != nil {
		return fmt.Errorf("write the control service's configuration: %w", err)
	}
	return o.file(path, text)
}
