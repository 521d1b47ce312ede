// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container/docker"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/pki"
)

// leaveOptions are the flags of flocker leave.
type leaveOptions struct {
	configDir, dockerHost string
	peerPort              int

	out  io.Writer
	json bool
}

// leaveResult is what leave says to a program.
type leaveResult struct {
	Removed []string `json:"removed"`
	Kept    []string `json:"kept"`
}

func newLeaveCommand() *cobra.Command {
	var o leaveOptions
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take away what Flocker made on this host's network",
		Long: `Take away what Flocker made on this host: its rules, its device to the other nodes, its settings, and Docker's network
of the applications. Stop the agent before; applications that are here have to be moved or removed first. Data,
certificates and configuration stay where they are. Run again, it has nothing to do.`,
		Example: "  flocker move postgres host2 && systemctl disable --now flocker-agent && flocker leave",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out, o.json = cmd.OutOrStdout(), wantsJSON(cmd)
			return o.run(cmd.Context(), newLogger(cmd))
		},
	}
	cmd.Flags().StringVar(&o.configDir, "config-dir", defaultConfigDir, "folder of the host's configuration and certificates")
	cmd.Flags().StringVar(&o.dockerHost, "docker-host", "", "address of Docker's engine (default its local socket)")
	cmd.Flags().IntVar(&o.peerPort, "peer-port", api.PeerPort, "the agent's port for other agents")
	return cmd
}

func (o leaveOptions) run(ctx context.Context, log *slog.Logger) error {
	creds, err := pki.LoadCredentials(o.configDir, pki.NodeName)
	if err != nil {
		return fmt.Errorf("this host is no node: %w", err)
	}
	if err := o.agentStopped(ctx); err != nil {
		return err
	}
	engine, err := docker.Open(docker.Config{Host: o.dockerHost, Cluster: creds.Identity().Cluster}, log)
	if err != nil {
		return err
	}
	err = o.leave(ctx, engine, network.New(log))
	return errors.Join(err, engine.Close())
}

// agentStopped makes sure that nobody makes again what is taken away.
func (o leaveOptions) agentStopped(ctx context.Context) error {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.peerPort)))
	if err != nil {
		return nil //nolint:nilerr // nobody listens, which is what is wanted
	}
	return errors.Join(fmt.Errorf("%w: the agent of this host runs (port %d answers): stop it first, \"systemctl disable --now flocker-agent\"",
		cluster.ErrConflict, o.peerPort), conn.Close())
}

func (o leaveOptions) leave(ctx context.Context, engine *docker.Engine, n *network.Network) error {
	found, err := engine.List(ctx)
	if err != nil {
		return err
	}
	var here []string
	for _, f := range found {
		if f.Ours {
			here = append(here, f.Application)
		}
	}
	if slices.Sort(here); len(here) > 0 {
		return fmt.Errorf("%w: applications are on this host: %s; move them to another, or remove them", cluster.ErrConflict, strings.Join(here, ", "))
	}
	if err := n.Leave(ctx); err != nil {
		return err
	}
	if err := engine.RemoveShared(ctx); err != nil {
		return err
	}
	result := leaveResult{
		Removed: []string{"nftables tables \"ip flocker\" and \"bridge flocker\"", "rules in DOCKER-USER", "device to the other nodes", "Docker's network flocker"},
		Kept:    []string{o.configDir, filepath.Join("/var/lib", "flocker")},
	}
	if o.json {
		return json.NewEncoder(o.out).Encode(result)
	}
	fmt.Fprintf(o.out, "Of Flocker's network nothing is left on this host. Kept: %s. The cluster forgets the node with \"flocker node rm\".\n",
		strings.Join(result.Kept, ", ")) // a closed terminal does not stop the work
	return nil
}
