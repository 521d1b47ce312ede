// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/blockstore"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// blockstoreOptions are the flags of flocker blockstore serve.
type blockstoreOptions struct {
	dir, listen, ports        string
	certificates, certificate string
	bootIDFile                string
}

func newBlockstoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "blockstore",
		Short: "Make this host a store of volumes for the nodes",
	}
	cmd.AddCommand(newBlockstoreServeCommand())
	return cmd
}

func newBlockstoreServeCommand() *cobra.Command {
	var o blockstoreOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a store of volumes",
		Long: `Run a store of volumes: it keeps them as files and exports each to one node at a
time, by NBD (with nbdkit). Stopping or restarting it disturbs no node: exports
are processes of their own. A reboot of the host ends them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), newLogger(cmd)) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "/var/lib/flocker/blockstore", "where volumes are kept")
	f.StringVar(&o.listen, "listen", ":"+client.DefaultPort, "ADDRESS:PORT to listen on; exports are at the same address")
	f.StringVar(&o.ports, "export-ports", "10810-11809", "ports of exports, FIRST-LAST; one for each attached volume")
	f.StringVar(&o.certificates, "certificates-directory", defaultConfigDir, "where cluster.crt and this host's certificate and key are")
	f.StringVar(&o.certificate, "certificate", pki.NodeName, "whose certificate to show: "+pki.NodeName+" or "+pki.ControlName)
	f.StringVar(&o.bootIDFile, "boot-id-file", "/proc/sys/kernel/random/boot_id", "file with an id that changes at each boot of this host")
	return cmd
}

func (o blockstoreOptions) run(ctx context.Context, log *slog.Logger) error {
	credentials, err := pki.LoadCredentials(o.certificates, o.certificate)
	if err != nil {
		return fmt.Errorf("block store: %w", err)
	}
	config, err := o.config(credentials.Identity().Cluster, log)
	if err != nil {
		return err
	}
	store, err := blockstore.Open(ctx, config)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return errors.Join(fmt.Errorf("block store: %w", err), store.Close())
	}
	log.Info("block store ready", "dir", o.dir, "address", listener.Addr(), "volumes", len(store.List()))
	return errors.Join(blockstore.Serve(ctx, store, credentials, listener, log), store.Close())
}

func (o blockstoreOptions) config(clusterID string, log *slog.Logger) (blockstore.Config, error) {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return blockstore.Config{}, fmt.Errorf("--listen: %w: %w", cluster.ErrInvalid, err)
	}
	first, last, err := portRange(o.ports)
	if err != nil {
		return blockstore.Config{}, fmt.Errorf("--export-ports: %w", err)
	}
	boot, err := os.ReadFile(o.bootIDFile)
	if err != nil {
		return blockstore.Config{}, fmt.Errorf("read this boot's id: %w", err)
	}
	return blockstore.Config{
		Dir: o.dir, Cluster: clusterID, Host: host, FirstPort: first, LastPort: last,
		BootID: strings.TrimSpace(string(boot)), Log: log,
	}, nil
}

func portRange(text string) (first, last int, err error) {
	from, to, _ := strings.Cut(text, "-")
	first, err = strconv.Atoi(from)
	if err == nil {
		last, err = strconv.Atoi(to)
	}
	if err != nil || first < 1 || last > 65535 || first > last {
		return 0, 0, fmt.Errorf("%q: %w: want FIRST-LAST, such as 10810-11809", text, cluster.ErrInvalid)
	}
	return first, last, nil
}
