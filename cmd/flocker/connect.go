// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/pki"
)

// Environment variables that say where the cluster is and who the user is.
const (
	controlVariable = "FLOCKER_CONTROL"
	certsVariable   = "FLOCKER_CERTS"
)

// addConnection gives a command, and those below it, the flags that say where the cluster is.
func addConnection(cmd *cobra.Command) {
	cmd.PersistentFlags().StringSlice("control", nil, "HOST[:PORT] of the control service (also "+controlVariable+"; default from ~/.flocker/config.yml)")
	cmd.PersistentFlags().String("certs", "", "folder with cluster.crt, user.crt and user.key (also "+certsVariable+"; default from ~/.flocker/config.yml)")
}

// withClient runs a command with a connection to the control service.
func withClient(run func(context.Context, *api.Client, printer, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd.Context(), c, newPrinter(cmd), args)
	}
}

func connect(cmd *cobra.Command) (*api.Client, error) {
	hosts, certs, err := whereIs(cmd)
	if err != nil {
		return nil, err
	}
	creds, err := pki.LoadCredentials(certs, pki.UserName)
	if err != nil {
		return nil, fmt.Errorf("this user's certificate: %w", err)
	}
	return api.NewClient(hosts, pki.ClientTLS(creds, pki.ExpectControl())), nil
}

// whereIs finds the cluster: flags first, then the environment, the user's configuration, and the host's.
func whereIs(cmd *cobra.Command) (hosts []string, certs string, err error) {
	if f := cmd.Flags().Lookup("control"); f != nil {
		if hosts, err = cmd.Flags().GetStringSlice("control"); err != nil {
			return nil, "", err
		}
		if certs, err = cmd.Flags().GetString("certs"); err != nil {
			return nil, "", err
		}
	}
	if v := os.Getenv(controlVariable); len(hosts) == 0 && v != "" {
		hosts = strings.Split(v, ",")
	}
	certs = cmp.Or(certs, os.Getenv(certsVariable))
	if len(hosts) == 0 || certs == "" {
		config, err := findUserConfig()
		if err != nil {
			return nil, "", err
		}
		certs = cmp.Or(certs, config.Certificates)
		if len(hosts) == 0 {
			hosts = config.Control
		}
	}
	for i := range hosts {
		hosts[i] = withPort(strings.TrimSpace(hosts[i]))
	}
	return hosts, certs, nil
}

// findUserConfig reads the first configuration there is.
func findUserConfig() (userConfig, error) {
	folders := []string{defaultConfigDir}
	if dir, err := userConfigDir(); err == nil {
		folders = []string{dir, defaultConfigDir}
	}
	for _, dir := range folders {
		config, err := readUserConfig(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return config, err
		}
	}
	return userConfig{}, fmt.Errorf("%w: there is no %s; make one with \"flocker init\", or copy ~/.flocker from where that was done, or give --control and --certs",
		errNoCluster, filepath.Join(folders[0], userConfigFile))
}

var errNoCluster = errors.New("no cluster is known")

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(api.ControlPort))
}
