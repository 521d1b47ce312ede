// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

const (
	administrator  = "admin"
	startTimeout   = 30 * time.Second
	documentedHost = "192.0.2.1:9" // an address that is nobody's: what it is reached from is this host's main one
)

type initOptions struct {
	setup
	userDir     string
	subnet      string
	subnet6     string
	controlOnly bool
}

func newInitCommand() *cobra.Command {
	o := &initOptions{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make this host a cluster of one",
		Long: `Make this host a cluster of one: the cluster's authority, the control service, an agent, and an administrator's
configuration for the command line. "flocker token create" and "flocker join" add more hosts. Run again, it only adds
what is missing.`,
		Example: "  flocker init\n  flocker init --name production --address 10.0.0.1\n  flocker init --subnet 10.200.0.0/16\n  flocker init --control-only",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out, o.json = cmd.OutOrStdout(), wantsJSON(cmd)
			return o.run(cmd.Context())
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.name, "name", "", "name of the cluster, and of the node (default: the host's name)")
	cmd.Flags().StringVar(&o.userDir, "user-config-dir", "", "folder of the command line's configuration (default ~/.flocker)")
	cmd.Flags().StringVar(&o.subnet, "subnet", "", "IPv4 subnet of the cluster network, from /8 to /24, that nothing else uses; it cannot be changed later (default "+cluster.DefaultSubnet+")")
	cmd.Flags().StringVar(&o.subnet6, "subnet6", cluster.Subnet6Auto, subnet6Usage+"; it cannot be changed later")
	cmd.Flags().BoolVar(&o.controlOnly, "control-only", false, "no agent: this host is no node")
	return cmd
}

func (o *initOptions) run(ctx context.Context) (err error) {
	if o.userDir == "" {
		if o.userDir, err = userConfigDir(); err != nil {
			return err
		}
	}
	if err := o.complete(ctx, documentedHost); err != nil {
		return err
	}
	if err := o.keepSubnets(); err != nil {
		return err
	}
	authority, err := o.authority()
	if err != nil {
		return err
	}
	if err := o.files(authority); err != nil {
		return err
	}
	if !o.noStart {
		if err := o.startAll(ctx); err != nil {
			return err
		}
	}
	return o.finish(o.result(authority), fmt.Sprintf("cluster %q is set up on this host.", authority.Name()), fmt.Sprintf(`
Cluster %q is set up. Next:
  flocker status          what there is
  flocker token create    then "flocker join TOKEN" on another host makes it a node`, authority.Name()))
}

func (o *initOptions) result(authority *pki.Authority) setupResult {
	r := setupResult{Cluster: authority.Cluster()}
	if node, err := pki.LoadCredentials(o.configDir, pki.NodeName); err == nil { // else this host is no node
		r.Node = node.Identity().Node
	}
	return r
}

func (o *initOptions) authority() (*pki.Authority, error) {
	files := pki.FilesIn(o.configDir, pki.AuthorityName)
	switch have, err := present(files.Cert, files.Key); {
	case err != nil:
		return nil, err
	case have > 0:
		authority, err := pki.LoadAuthority(o.configDir)
		if errors.Is(err, pki.ErrNoAuthorityKey) {
			return nil, fmt.Errorf("%w\nthis host is part of a cluster whose authority is kept elsewhere; "+
				"make its files there with \"flocker ca\", or give another --config-dir", err)
		}
		return authority, err
	}
	authority, err := pki.CreateAuthority(o.name)
	if err != nil {
		return nil, err
	}
	if err := authority.Write(o.configDir); err != nil {
		return nil, err
	}
	o.did("made the authority of cluster %q: %s; keep %s secret", authority.Name(), files.Cert, files.Key)
	return authority, nil
}

func (o *initOptions) files(authority *pki.Authority) error {
	hosts := []string{o.address, "127.0.0.1", "::1", "localhost"}
	if name, err := os.Hostname(); err == nil && hostName().MatchString(name) {
		hosts = append(hosts, name)
	}
	err := o.identity(o.configDir, pki.ControlName, func() (pki.Issued, error) { return authority.IssueControl(hosts) })
	if err != nil {
		return err
	}
	if err := o.userFiles(authority); err != nil {
		return fmt.Errorf("configuration of the command line: %w", err)
	}
	if o.controlOnly {
		return nil
	}
	err = o.identity(o.configDir, pki.NodeName, func() (pki.Issued, error) {
		return authority.IssueNode(cluster.NodeID(uuid.NewString()))
	})
	if err != nil {
		return err
	}
	return o.agentConfig([]string{o.endpoint(api.AgentPort)})
}

func (o *initOptions) userFiles(authority *pki.Authority) error {
	if err := o.file(pki.FilesIn(o.userDir, pki.UserName).CA, authority.CertificatePEM()); err != nil {
		return err
	}
	err := o.identity(o.userDir, pki.UserName, func() (pki.Issued, error) {
		return authority.IssueUser(administrator, pki.RoleAdmin)
	})
	if err != nil {
		return err
	}
	if have, err := present(filepath.Join(o.userDir, userConfigFile)); err != nil {
		return err
	} else if have == 1 {
		_, err := readUserConfig(o.userDir)
		return err
	}
	text, err := userConfig{Version: 1, Control: []string{o.endpoint(api.ControlPort)}}.encode()
	if err != nil {
		return err
	}
	return o.file(filepath.Join(o.userDir, userConfigFile), text)
}

func (o *initOptions) endpoint(port int) string {
	return net.JoinHostPort(o.address, strconv.Itoa(port))
}

func (o *initOptions) startAll(ctx context.Context) error {
	if err := o.start(ctx, thisHost(), "control", "--certificates-directory", o.configDir); err != nil {
		return err
	}
	config, err := readUserConfig(o.userDir)
	if err != nil {
		return err
	}
	if err := waitForControl(ctx, config); err != nil {
		return fmt.Errorf("the control service was started and does not answer: %w", err)
	}
	if o.controlOnly {
		return nil
	}
	return o.startAgent(ctx)
}

// waitForControl waits until the API takes the user's connection.
func waitForControl(ctx context.Context, config userConfig) error {
	credentials, err := pki.LoadCredentials(config.Certificates, pki.UserName)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	dialer := tls.Dialer{Config: pki.ClientTLS(credentials, pki.ExpectControl())}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", config.Control[0])
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", cluster.ErrUnavailable, err)
		case <-tick.C:
		}
	}
}
