// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

type tokenOptions struct {
	ttl       time.Duration
	uses      int
	endpoints []string
	userDir   string
}

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Let new hosts join the cluster"}
	addConnection(cmd)
	cmd.AddCommand(tokenCreateCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	o := &tokenOptions{}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token with which a host becomes a node",
		Long: `Make a token for "flocker join". Whoever has it can make a host a node until it expires or is used up, so treat it
as a password. It is shown once and kept nowhere.`,
		Example: "  flocker token create\n  flocker token create --ttl 10m --uses 5",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.create(cmd)
		},
	}
	cmd.Flags().DurationVar(&o.ttl, "ttl", pki.DefaultTokenTTL, "how long the token can be used")
	cmd.Flags().IntVar(&o.uses, "uses", 1, "how many hosts can join with it")
	cmd.Flags().StringSliceVar(&o.endpoints, "endpoint", nil, "HOST:PORT of the API as the new host reaches it (default: as this command does)")
	cmd.Flags().StringVar(&o.userDir, "user-config-dir", "", "folder of the command line's configuration (in place of --control and --certs)")
	return cmd
}

func (o *tokenOptions) create(cmd *cobra.Command) error {
	if o.ttl <= 0 || o.uses <= 0 {
		return fmt.Errorf("--ttl %v --uses %d: %w: both must be above 0", o.ttl, o.uses, cluster.ErrInvalid)
	}
	hosts, certs, err := o.cluster(cmd)
	if err != nil {
		return err
	}
	credentials, err := pki.LoadCredentials(certs, pki.UserName)
	if err != nil {
		return fmt.Errorf("this user's certificate: %w", err)
	}
	if len(o.endpoints) == 0 {
		o.endpoints = hosts
	}
	client := api.NewClient(hosts, pki.ClientTLS(credentials, pki.ExpectControl()))
	defer client.Close()
	token, err := client.CreateToken(cmd.Context(), api.TokenRequest{TTL: cluster.Duration(o.ttl), Uses: o.uses, Endpoints: o.endpoints})
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	return o.show(cmd, token)
}

// cluster is where the control service and the user's files are.
func (o *tokenOptions) cluster(cmd *cobra.Command) (hosts []string, certs string, err error) {
	if o.userDir == "" {
		return whereIs(cmd)
	}
	config, err := readUserConfig(o.userDir)
	return config.Control, config.Certificates, err
}

// show prints the token alone on standard output, so that it can be piped.
func (o *tokenOptions) show(cmd *cobra.Command, token api.Token) error {
	if wantsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(token)
	}
	if _, err := io.WriteString(cmd.OutOrStdout(), token.Token+"\n"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Good for %d host(s) until %s: flocker join TOKEN\n",
		token.Uses, token.Expires.Local().Format(time.DateTime))
	return err
}
