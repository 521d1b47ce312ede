// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// caFolders are where a ca command reads the authority and writes what it makes.
type caFolders struct {
	in, out string
	days    int
}

// newCACommand is also the original's flocker-ca, when the binary has that name.
func newCACommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make a cluster's certificates by hand, for those who keep the authority's key elsewhere",
		Long: `Make the files by which a cluster's control service, nodes and users prove who they are. The same files and names
as those of the original's flocker-ca; files of the original go on working. Nothing is ever overwritten.

"flocker init" and "flocker join" do all this by themselves where the authority's key is kept on the control host.`,
		Example: `  flocker ca initialize mycluster
  flocker ca create-control-certificate control.example.com 10.0.0.1
  flocker ca create-node-certificate -o /tmp/node1
  flocker ca create-api-certificate alice --role operate`,
	}
	cmd.AddCommand(caInitializeCommand(), caControlCommand(), caNodeCommand(), caUserCommand())
	return cmd
}

func (f *caFolders) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.in, "inputpath", "i", ".", "folder with cluster.crt and cluster.key")
	cmd.Flags().StringVarP(&f.out, "outputpath", "o", ".", "folder for the new files")
	cmd.Flags().IntVar(&f.days, "days", 0, "days for which the certificate is valid; 0 is as long as the authority")
}

func (f *caFolders) authority() (*pki.Authority, error) {
	if f.days < 0 {
		return nil, fmt.Errorf("--days %d: %w: negative", f.days, cluster.ErrInvalid)
	}
	authority, err := pki.LoadAuthority(f.in)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w\nrun \"flocker ca initialize NAME\" to make a new authority, or give its folder with --inputpath", err)
	}
	if err != nil {
		return nil, err
	}
	authority.Lifetime = time.Duration(f.days) * 24 * time.Hour
	return authority, nil
}

// write keeps what was issued and says what to do with it.
func (f *caFolders) write(w io.Writer, issued pki.Issued, name, advice string) error {
	if err := issued.Write(f.out, name); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "Created %s.crt and %s.key. %s\n", name, name, advice)
	return err
}

func caInitializeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "initialize NAME",
		Short: "Make a new authority in this folder: cluster.crt and cluster.key",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := pki.CreateAuthority(args[0])
			if err != nil {
				return err
			}
			if err := authority.Write("."); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "Created cluster.key and cluster.crt. Please keep cluster.key secret, "+
				"as anyone who can access it will be able to control your cluster.")
			return err
		},
	}
}

func caControlCommand() *cobra.Command {
	f := &caFolders{}
	cmd := &cobra.Command{
		Use:   "create-control-certificate HOST...",
		Short: "Make the control service's certificate, with the names and addresses at which clients reach it",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := f.authority()
			if err != nil {
				return err
			}
			issued, err := authority.IssueControl(args)
			if err != nil {
				return err
			}
			return f.write(cmd.OutOrStdout(), issued, "control-"+args[0],
				"Copy them to /etc/flocker/control-service.crt and .key on your control host, with mode 0600.")
		},
	}
	f.flags(cmd)
	return cmd
}

func caNodeCommand() *cobra.Command {
	f := &caFolders{}
	cmd := &cobra.Command{
		Use:   "create-node-certificate",
		Short: "Make a new node's certificate",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			authority, err := f.authority()
			if err != nil {
				return err
			}
			id := cluster.NodeID(uuid.NewString())
			issued, err := authority.IssueNode(id)
			if err != nil {
				return err
			}
			return f.write(cmd.OutOrStdout(), issued, string(id),
				"Copy them to /etc/flocker/node.crt and .key on your node, with mode 0600, and cluster.crt beside them.")
		},
	}
	f.flags(cmd)
	return cmd
}

func caUserCommand() *cobra.Command {
	f, role := &caFolders{}, ""
	cmd := &cobra.Command{
		Use:   "create-api-certificate USER",
		Short: "Make the certificate of a user of the API, or of the Docker plug-in with the user name plugin",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := f.authority()
			if err != nil {
				return err
			}
			issued, err := authority.IssueUser(args[0], pki.Role(role))
			if err != nil {
				return err
			}
			return f.write(cmd.OutOrStdout(), issued, args[0],
				"You can now give them to your API end user, so that the control service lets that user in.")
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&role, "role", string(pki.RoleAdmin), "what the user may do: read, operate or admin")
	return cmd
}
