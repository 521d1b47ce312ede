// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

const joinTimeout = 20 * time.Second // for one address of the control service

type joinOptions struct {
	setup
	token pki.Token
}

func newJoinCommand() *cobra.Command {
	o := &joinOptions{}
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this host a node of a cluster",
		Long: `Make this host a node of the cluster that made the token. The host makes its own key and gets a certificate for it;
no file is copied by hand. With - the token is read from standard input, so that it shows in no list of processes.
Run again, it only adds what is missing; if it was cut off, the same token makes the same node.`,
		Example: "  flocker join flocker1-…@10.0.0.1:4523\n  ssh control flocker token create | flocker join -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.out, o.json = cmd.OutOrStdout(), wantsJSON(cmd)
			if o.token, err = readToken(args[0], cmd.InOrStdin()); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.name, "name", "", "name of the node (default: the host's name)")
	return cmd
}

func readToken(arg string, in io.Reader) (pki.Token, error) {
	if arg != "-" {
		return pki.ParseToken(arg)
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return pki.Token{}, fmt.Errorf("read the token: %w", err)
	}
	return pki.ParseToken(strings.TrimSpace(line))
}

func (o *joinOptions) run(ctx context.Context) error {
	if err := o.complete(ctx, o.token.Endpoints[0]); err != nil {
		return err
	}
	node, err := o.identify(ctx)
	if err != nil {
		return err
	}
	if !o.noStart {
		if err := o.startAgent(ctx); err != nil {
			return err
		}
	}
	credentials, err := pki.LoadCredentials(o.configDir, pki.NodeName)
	if err != nil {
		return err
	}
	return o.finish(setupResult{Cluster: credentials.Identity().Cluster, Node: node},
		fmt.Sprintf("this host is node %s already.", node),
		fmt.Sprintf("This host is node %s. \"flocker node ls\" shows it once its agent runs.", node))
}

// identify makes the host's files. The certificate comes last: with it, everything is there.
func (o *joinOptions) identify(ctx context.Context) (cluster.NodeID, error) {
	files := pki.FilesIn(o.configDir, pki.NodeName)
	have, err := present(files.Cert)
	if err != nil {
		return "", err
	}
	if have == 1 {
		return o.already(files)
	}
	if err := o.sameCluster(files); err != nil {
		return "", err
	}
	csr, err := pki.RequestNode(o.configDir, o.name)
	if err != nil {
		return "", err
	}
	reply, err := o.ask(ctx, api.JoinRequest{ID: o.token.ID, Secret: o.token.Secret, CSR: string(csr), Name: o.name, Address: o.address})
	if err != nil {
		return "", err
	}
	return reply.Node, o.keep(reply, files)
}

// already checks that the node that this host is belongs to the token's cluster.
func (o *joinOptions) already(files pki.Files) (cluster.NodeID, error) {
	credentials, err := pki.LoadFiles(files)
	if err != nil {
		return "", err
	}
	id := credentials.Identity()
	if id.Kind != pki.KindNode || credentials.Pin() != o.token.Pin {
		return "", fmt.Errorf("%w: this host is %s of another cluster; its files are in %s", cluster.ErrConflict, id, o.configDir)
	}
	return id.Node, o.agentConfig(o.agentEndpoints(nil))
}

func (o *joinOptions) sameCluster(files pki.Files) error {
	have, err := present(files.CA)
	if err != nil || have == 0 {
		return err
	}
	pin, err := pki.PinOfFile(files.CA)
	if err == nil && pin != o.token.Pin {
		err = fmt.Errorf("%w: this host belongs to another cluster: %s", cluster.ErrConflict, files.CA)
	}
	return err
}

// ask sends the request to each address in turn until one answers.
func (o *joinOptions) ask(ctx context.Context, request api.JoinRequest) (api.JoinReply, error) {
	transport := &http.Transport{TLSClientConfig: pki.PinnedTLS(o.token.Pin)}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: joinTimeout}
	var errs []error
	for _, endpoint := range o.token.Endpoints {
		var reply api.JoinReply
		err := postJSON(ctx, client, "https://"+endpoint+"/v2/join", request, &reply)
		if err == nil {
			return reply, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", endpoint, err))
		if _, answered := errors.AsType[*api.Problem](err); answered && !errors.Is(err, cluster.ErrUnavailable) {
			break
		}
	}
	return api.JoinReply{}, fmt.Errorf("join: %w", errors.Join(errs...))
}

func (o *joinOptions) keep(reply api.JoinReply, files pki.Files) error {
	err := pki.CheckJoined(pki.Joined{Node: reply.Node, CertPEM: []byte(reply.Certificate), CAPEM: []byte(reply.CA)}, files.Key, o.token.Pin)
	if err != nil {
		return fmt.Errorf("the control service's answer: %w", err)
	}
	if err := o.file(files.CA, []byte(reply.CA)); err != nil {
		return err
	}
	if err := o.agentConfig(o.agentEndpoints(reply.Control)); err != nil {
		return err
	}
	return o.file(files.Cert, []byte(reply.Certificate))
}

// agentEndpoints are those that control names, else the token's hosts on the agents' port.
func (o *joinOptions) agentEndpoints(named []string) []string {
	if len(named) > 0 {
		return named
	}
	var endpoints []string
	for _, endpoint := range o.token.Endpoints {
		if host, _, err := net.SplitHostPort(endpoint); err == nil { // ParseToken saw to it
			endpoints = append(endpoints, net.JoinHostPort(host, strconv.Itoa(api.AgentPort)))
		}
	}
	return endpoints
}
