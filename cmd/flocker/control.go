// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/pki"
)

// controlOptions are the flags of flocker control.
type controlOptions struct {
	dataDir, certificates, address string
	subnet, subnet6                string
	port, agentPort                int

	endpoints                 []string
	etcdCA, etcdCert, etcdKey string
	etcdMaxTxnOps             int
}

func newControlCommand() *cobra.Command {
	var o controlOptions
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Run the control service",
		Long: `Run the control service: it keeps what the cluster should be and hears from
every node's agent. Its state is on an etcd of its own in the data directory,
or on one that you already run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.Root().Version, newLogger(cmd))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "/var/lib/flocker/control", "where the state is kept")
	f.StringVar(&o.certificates, "certificates-directory", defaultConfigDir, "where cluster.crt, control-service.crt and control-service.key are; with cluster.key, hosts can join by token")
	f.StringVar(&o.address, "address", "", "address to listen on (default all)")
	f.IntVar(&o.port, "port", api.ControlPort, "port for users")
	f.IntVar(&o.agentPort, "agent-port", api.AgentPort, "port for agents")
	f.StringVar(&o.subnet, "subnet", "", "IPv4 subnet of the cluster network, from /8 to /24; fixed at the first start (default that of "+controlFile+" beside the certificates, else "+cluster.DefaultSubnet+")")
	f.StringVar(&o.subnet6, "subnet6", "", subnet6Usage+"; fixed at the first start (default that of "+controlFile+", else "+cluster.Subnet6Auto+")")
	f.StringSliceVar(&o.endpoints, "etcd-endpoints", nil, "HOST:PORT or URLs of an etcd that you run, in place of the one in the data directory")
	f.StringVar(&o.etcdCA, "etcd-cacert", "", "that etcd's authority")
	f.StringVar(&o.etcdCert, "etcd-cert", "", "certificate shown to that etcd")
	f.StringVar(&o.etcdKey, "etcd-key", "", "key of that certificate")
	f.IntVar(&o.etcdMaxTxnOps, "etcd-max-txn-ops", 0, "what that etcd's --max-txn-ops allows (default etcd's own 128)")
	return cmd
}

func (o controlOptions) run(ctx context.Context, version string, log *slog.Logger) error {
	server, err := o.server(version, log)
	if err != nil {
		return err
	}
	if server.Users, err = o.listen(ctx, o.port); err != nil {
		return err
	}
	if server.Agents, err = o.listen(ctx, o.agentPort); err != nil {
		return errors.Join(err, server.Users.Close())
	}
	server.Ready = func(*control.Service) {
		log.Info("control service ready", "users", server.Users.Addr(), "agents", server.Agents.Addr(), "embedded_store", server.Store.External == nil)
	}
	return server.Run(ctx)
}

func (o controlOptions) server(version string, log *slog.Logger) (*control.Server, error) {
	credentials, err := pki.LoadCredentials(o.certificates, pki.ControlName)
	if err != nil {
		return nil, fmt.Errorf("control service: %w", err)
	}
	fabric, err := o.network()
	if err != nil {
		return nil, err
	}
	authority, err := o.authority(log)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("control service: make the data directory: %w", err)
	}
	external, err := o.external()
	if err != nil {
		return nil, err
	}
	return &control.Server{
		Store:       store.Options{Dir: o.dataDir, External: external, Log: log},
		Credentials: credentials,
		Authority:   authority,
		Fabric:      fabric,
		Version:     version,
		Log:         log,
	}, nil
}

// network is what was given of the cluster network; empty where nothing was.
func (o controlOptions) network() (cluster.Fabric, error) {
	if err := checkSubnet(o.subnet); err != nil {
		return cluster.Fabric{}, fmt.Errorf("control service: --subnet: %w", err)
	}
	if err := checkSubnet6(o.subnet6); err != nil {
		return cluster.Fabric{}, fmt.Errorf("control service: --subnet6: %w", err)
	}
	f := cluster.Fabric{Subnet: o.subnet, Subnet6: o.subnet6}
	if f.Subnet != "" && f.Subnet6 != "" {
		return f, nil
	}
	c, err := readControlFile(o.certificates)
	if err != nil {
		return cluster.Fabric{}, fmt.Errorf("control service: %w", err)
	}
	f.Subnet, f.Subnet6 = cmp.Or(f.Subnet, c.Subnet), cmp.Or(f.Subnet6, c.Subnet6)
	return f, nil
}

// authority is nil where its key is kept elsewhere.
func (o controlOptions) authority(log *slog.Logger) (*pki.Authority, error) {
	key := pki.FilesIn(o.certificates, pki.AuthorityName).Key
	if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
		log.Info("the authority's key is not here; join tokens are off", "key", key)
		return nil, nil //nolint:nilnil // none is a valid choice
	}
	authority, err := pki.LoadAuthority(o.certificates)
	if err != nil {
		return nil, fmt.Errorf("control service: %w", err)
	}
	return authority, nil
}

func (o controlOptions) listen(ctx context.Context, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(o.address, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("control service: %w", err)
	}
	return l, nil
}

func (o controlOptions) external() (*store.External, error) {
	if len(o.endpoints) == 0 {
		return nil, nil //nolint:nilnil // none means the embedded one
	}
	e := &store.External{Endpoints: o.endpoints, MaxTxnOps: o.etcdMaxTxnOps}
	if o.etcdCA == "" && o.etcdCert == "" {
		return e, nil
	}
	e.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.etcdCA != "" {
		text, err := os.ReadFile(filepath.Clean(o.etcdCA))
		if err != nil {
			return nil, fmt.Errorf("etcd's authority: %w", err)
		}
		e.TLS.RootCAs = x509.NewCertPool()
		if !e.TLS.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("etcd's authority: %s holds no certificate: %w", o.etcdCA, cluster.ErrInvalid)
		}
	}
	if o.etcdCert != "" {
		pair, err := tls.LoadX509KeyPair(o.etcdCert, o.etcdKey)
		if err != nil {
			return nil, fmt.Errorf("certificate for etcd: %w", err)
		}
		e.TLS.Certificates = []tls.Certificate{pair}
	}
	return e, nil
}
