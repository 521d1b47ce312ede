// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/manifest"
)

// maxFile bounds what is read of a file; manifest refuses less.
const maxFile = 2 << 20

type deployOptions struct {
	moveOptions
	dryRun, wait, prune bool
	timeout             time.Duration
}

func newDeployCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "deploy APPLICATION DEPLOYMENT",
		Short: "Run applications with their data as two files say",
		Long: `Run applications with their data as two files say: one describes the applications, the other says on which node each
is to be. They may be given in either order; "-" is standard input. Deployed again, only what differs is changed. An
application that is to be on another node is moved there with its data.

Applications that the files do not name stay as they are, unless --prune is given. Data is never removed.`,
		Example: `  flocker deploy postgres.yml deployment.yml
  flocker deploy --dry-run postgres.yml deployment.yml
  flocker deploy --wait --timeout 2m postgres.yml deployment.yml`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := readManifest(args) // before anything else: files can be checked without a cluster
			if err != nil {
				return err
			}
			return withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
				return o.run(ctx, c, p, m)
			})(cmd, args)
		},
	}
	addConnection(cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until the moves have ended and every application is ready")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "remove applications that the files do not place; their data stays")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for applications to be ready after the moves")
	o.flags(cmd)
	return cmd
}

func (o *deployOptions) run(ctx context.Context, c *api.Client, p printer, m manifest.Manifest) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	for _, name := range m.Unplaced {
		p.log.Warn("application is on no node of the deployment file and is left out", "application", name)
	}
	if err := keepLimits(ctx, c, m.Datasets); err != nil {
		return err
	}
	reply, err := c.Deploy(ctx, api.DeployRequest{
		Applications: m.Applications, Datasets: m.Datasets, Prune: o.prune, DryRun: o.dryRun, Options: options,
	})
	if err != nil {
		return err
	}
	if err := p.show(reply, func() error { return p.deployed(reply, o.dryRun) }); err != nil || o.dryRun {
		return err
	}
	if o.wait {
		return o.await(ctx, c, p, reply, m)
	}
	return nil
}

// keepLimits makes a file that gives no size leave a dataset's limit as it is.
func keepLimits(ctx context.Context, c *api.Client, wanted []cluster.Dataset) error {
	there, err := c.Datasets(ctx)
	if err != nil {
		return err
	}
	for i, w := range wanted {
		same := func(d api.DatasetInfo) bool { return d.ID == w.ID || w.ID == "" && d.Name == w.Name && !d.Deleted }
		if at := slices.IndexFunc(there, same); w.Size == 0 && at >= 0 {
			wanted[i].Size = there[at].Size
		}
	}
	return nil
}

func readManifest(files []string) (manifest.Manifest, error) {
	var sources [2]manifest.Source
	for i, name := range files {
		text, err := readInput(name)
		if err != nil {
			return manifest.Manifest{}, err
		}
		sources[i] = manifest.Source{Name: name, Text: text}
	}
	return manifest.Parse(sources[0], sources[1])
}

func readInput(name string) (text []byte, err error) {
	in := io.ReadCloser(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
		}
		in = f
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if text, err = io.ReadAll(io.LimitReader(in, maxFile)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

// deployed says what was done to each object.
func (p printer) deployed(reply api.DeployReply, dryRun bool) error {
	done := map[api.DeployVerb]string{
		api.DeployCreate: "created", api.DeployUpdate: "changed", api.DeployMove: "moving", api.DeployDelete: "removed", api.DeployKeep: "unchanged",
	}
	if dryRun {
		done = map[api.DeployVerb]string{
			api.DeployCreate: "would be created", api.DeployUpdate: "would be changed", api.DeployMove: "would be moved",
			api.DeployDelete: "would be removed", api.DeployKeep: "would stay as it is",
		}
	}
	for _, a := range reply.Actions {
		text := fmt.Sprintf("%s %s %s", kindOfObject(a.Object), a.Name, done[a.Verb])
		if a.Detail != "" {
			text += ": " + a.Detail
		}
		if a.Move != "" && !dryRun {
			text += " (move " + short(string(a.Move)) + ")"
		}
		if err := p.say("%s", text); err != nil {
			return err
		}
	}
	return nil
}

// await follows the moves, then waits for applications to be ready.
func (o *deployOptions) await(ctx context.Context, c *api.Client, p printer, reply api.DeployReply, m manifest.Manifest) error {
	var moves []cluster.MoveID
	seen := map[cluster.MoveID]bool{}
	for _, a := range reply.Actions {
		if a.Move != "" && !seen[a.Move] {
			seen[a.Move] = true
			moves = append(moves, a.Move)
		}
	}
	if p.json {
		p.out = io.Discard // the answer is one document, and has been written
	}
	if err := followAll(ctx, c, p, moves); err != nil {
		return err
	}
	names := make([]string, len(m.Applications))
	for i, a := range m.Applications {
		names[i] = a.Name
	}
	return awaitReady(ctx, c, p, names, o.timeout)
}
