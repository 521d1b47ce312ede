// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/agent"
	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/all"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container/docker"
	"github.com/flocker-project/flocker/converge"
	"github.com/flocker-project/flocker/dockerplugin"
	"github.com/flocker-project/flocker/internal/filecopy"
	"github.com/flocker-project/flocker/migrate"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/pki"
	"github.com/flocker-project/flocker/transfer"
)

// agentOptions are the flags of flocker agent.
type agentOptions struct {
	config, stateDir, mountRoot string
	bootIDFile, faultDir        string
	dockerHost                  string
	peerPort                    int
}

func newAgentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run a node's agent",
		Long: `Run a node's agent: it keeps this node's datasets and containers as the control
service says. Stopping or restarting it disturbs neither.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), newLogger(cmd)) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.config, "agent-config", "c", filepath.Join(defaultConfigDir, "agent.yml"), "the agent's configuration; cluster.crt, node.crt and node.key lie beside it")
	f.StringVar(&o.stateDir, "state-dir", "/var/lib/flocker/agent", "where notes of hand-overs are kept")
	f.StringVar(&o.mountRoot, "mount-root", backend.DefaultMountRoot, "where datasets are mounted")
	f.StringVar(&o.dockerHost, "docker-host", "", "address of Docker's engine (default its local socket)")
	f.IntVar(&o.peerPort, "peer-port", api.PeerPort, "port for other agents")
	f.StringVar(&o.bootIDFile, "boot-id-file", "/proc/sys/kernel/random/boot_id", "file with an id that changes at each boot of this node")
	f.StringVar(&o.faultDir, "fault-dir", "", "for drills: die at a named point of a move when a file of its name is here")
	return cmd
}

func (o agentOptions) run(ctx context.Context, log *slog.Logger) error {
	conf, err := readAgentConfig(o.config)
	if err != nil {
		return err
	}
	creds, err := pki.LoadCredentials(filepath.Dir(o.config), pki.NodeName)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	pools, err := o.pools(ctx, conf, creds, log)
	if err != nil {
		return err
	}
	engine, err := docker.Open(docker.Config{Host: o.dockerHost, Cluster: creds.Identity().Cluster}, log)
	if err != nil {
		return errors.Join(err, pools.Close())
	}
	err = o.serve(ctx, conf, creds, pools, engine, log)
	return errors.Join(err, engine.Close(), pools.Close())
}

// pools are the node's back ends. One that does not open is opened later; what agent.yml says wrongly is an error now.
func (o agentOptions) pools(ctx context.Context, conf agentConfig, creds *pki.Credentials, log *slog.Logger) (*backend.Pools, error) {
	all := conf.storages()
	open := make([]*backend.Pool, len(all))
	var opening errgroup.Group
	for i, s := range all {
		opening.Go(func() (err error) {
			open[i], err = o.pool(ctx, s, creds, log)
			return err
		})
	}
	err := opening.Wait()
	var pools *backend.Pools
	if err == nil {
		pools, err = backend.NewPools(open[0], open[1:]...)
	}
	if err == nil {
		return pools, nil
	}
	for _, pool := range open {
		if pool != nil {
			err = errors.Join(err, pool.Close())
		}
	}
	return nil, err
}

// pool is one back end: the driver, and around it all that is the same for every driver.
func (o agentOptions) pool(ctx context.Context, s namedStorage, creds *pki.Credentials, log *slog.Logger) (*backend.Pool, error) {
	self := creds.Identity()
	node := all.Node{ID: self.Node, Cluster: self.Cluster, Credentials: creds}
	driver := backend.OpenLater(s.name, func(ctx context.Context) (backend.Driver, error) {
		return all.Open(ctx, node, s.kind(), s.options, log)
	}, &converge.Backoff{Min: time.Second})
	switch err := driver.Open(ctx); {
	case errors.Is(err, cluster.ErrInvalid) && s.kind() != s.name:
		return nil, errors.Join(fmt.Errorf("back end %s: %w", s.name, err), driver.Close())
	case errors.Is(err, cluster.ErrInvalid):
		return nil, errors.Join(err, driver.Close())
	case err != nil:
		log.ErrorContext(ctx, "back end does not open; what is in it is left as it is, and it is tried again", "backend", s.name, "error", err)
	}
	options := backend.Options{Name: s.name, MountRoot: o.mountRoot, Log: log}
	if s.kind() != s.name {
		options.Kind = s.kind()
	}
	return backend.NewPool(driver, options), nil
}

func (o agentOptions) serve(ctx context.Context, conf agentConfig, creds *pki.Credentials, pools *backend.Pools, engine *docker.Engine, log *slog.Logger) error {
	self, err := o.self(ctx, conf)
	if err != nil {
		return err
	}
	notes, err := migrate.OpenNotes(filepath.Join(o.stateDir, "hand-overs"))
	if err != nil {
		return err
	}
	toNode := func(id cluster.NodeID) *tls.Config { return pki.ClientTLS(creds, pki.ExpectNode(id)) }
	link := api.NewAgentClient(conf.endpoints(), pki.ClientTLS(creds, pki.ExpectControl()))
	defer link.Close()
	peers := api.NewPeerClient(toNode)
	defer peers.Close()
	a := agent.New(agent.Config{
		Node: creds.Identity().Node, Self: self, Link: link,
		Pools: pools, Engine: engine, Network: network.New(log), Notes: notes,
		Peers: peers, Streams: &transfer.Dialer{TLS: toNode},
		IPv6:   sync.OnceValue(network.IPv6OfHost), // what Docker then changes of the host must not change the answer
		Checks: conf.checks, Copy: filecopy.Copy,
		Fault: o.fault(), Log: log,
	})
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(o.peerPort)))
	if err != nil {
		return fmt.Errorf("listen for other agents: %w", err)
	}
	plugin := dockerplugin.New(dockerplugin.Config{Node: creds.Identity().Node, Local: a, Control: link, Log: log})
	toDocker, err := conf.Docker.listen(ctx)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Serve(ctx, ln, creds) })
	if toDocker != nil {
		g.Go(func() error { return plugin.Serve(ctx, toDocker) })
	}
	return g.Wait()
}

// self is how this node presents itself.
func (o agentOptions) self(ctx context.Context, conf agentConfig) (api.SessionRequest, error) {
	boot, err := os.ReadFile(o.bootIDFile)
	if err != nil {
		return api.SessionRequest{}, fmt.Errorf("read this boot's id: %w", err)
	}
	name := conf.Node.Name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return api.SessionRequest{}, fmt.Errorf("this host's name: %w", err)
		}
	}
	address := conf.Node.Address
	if address == "" {
		if address, err = addressTowards(ctx, conf.endpoints()[0]); err != nil {
			return api.SessionRequest{}, err
		}
	}
	return api.SessionRequest{
		Name: name, Address: address,
		AgentAddress: net.JoinHostPort(address, strconv.Itoa(o.peerPort)),
		BootID:       strings.TrimSpace(string(boot)),
		Version:      version, Protocol: cluster.ProtocolVersion,
		Process: uuid.NewString(),
	}, nil
}

// addressTowards is the address of this host from which another is reached; nothing is sent.
func addressTowards(ctx context.Context, hostport string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", hostport)
	if err != nil {
		return "", fmt.Errorf("find this node's address (set node.address in agent.yml): %w", err)
	}
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, errors.Join(err, conn.Close())
}

// fault dies, as a machine does that loses its power, at the points for which a file is there.
func (o agentOptions) fault() func(string) {
	if o.faultDir == "" {
		return nil
	}
	return func(point string) {
		if err := os.Remove(filepath.Join(o.faultDir, point)); err == nil {
			die()
		}
	}
}
