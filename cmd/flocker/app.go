// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newAppCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "app", Short: "Show and remove applications", Aliases: []string{"application"}}
	addConnection(cmd)
	cmd.AddCommand(appListCommand(), appInspectCommand(), appLogsCommand(), appRemoveCommand())
	return cmd
}

func appListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List applications",
		Args:  cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			all, err := c.Applications(ctx)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.applications(all) })
		}),
	}
}

func appInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "inspect APPLICATION",
		Short:             "Show everything about an application",
		Example:           "  flocker app inspect postgres\n  flocker app inspect postgres --json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(applicationNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			a, err := c.Application(ctx, args[0])
			if err != nil {
				return err
			}
			return p.show(a, func() error { return p.application(a) })
		}),
	}
}

func appLogsCommand() *cobra.Command {
	var lines int
	cmd := &cobra.Command{
		Use:               "logs APPLICATION",
		Short:             "Show the last lines that an application wrote",
		Example:           "  flocker app logs postgres --lines 500",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(applicationNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			if lines < 1 {
				return fmt.Errorf("--lines %d: %w: must be above 0", lines, cluster.ErrInvalid)
			}
			return showLogs(ctx, c, p, args[0], lines)
		}),
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines")
	return cmd
}

func showLogs(ctx context.Context, c *api.Client, p printer, name string, lines int) (err error) {
	logs, err := c.ApplicationLogs(ctx, name, lines)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	if !p.json {
		_, err = io.Copy(p.out, logs)
		return err
	}
	text, err := io.ReadAll(logs)
	if err != nil {
		return fmt.Errorf("read the logs of application %s: %w", name, err)
	}
	return p.show(map[string]any{"application": name, "lines": slices.Collect(strings.Lines(string(text)))}, nil)
}

func appRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "rm APPLICATION...",
		Short:             "Stop and remove applications; their data stays",
		Example:           "  flocker app rm postgres",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeEach(applicationNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			var removed []cluster.Application
			for _, name := range args {
				a, err := c.DeleteApplication(ctx, name)
				if err != nil {
					return err
				}
				removed = append(removed, a)
				if !p.json {
					err = p.say("application %s is being removed; its data stays", name)
				}
				if err != nil {
					return err
				}
			}
			return p.show(removed, func() error { return nil })
		}),
	}
}

func (p printer) applications(all []api.ApplicationInfo) error {
	t := p.table("APPLICATION", "IMAGE", "NODE", "STATE", "PORTS", "VOLUMES")
	for _, a := range all {
		t.row(a.Name, a.Image, a.NodeName, stateOfApplication(a), portsOf(a.Ports), count(len(a.Volumes)))
	}
	return t.end()
}

func stateOfApplication(a api.ApplicationInfo) string {
	var state string
	box := a.Container
	switch {
	case a.Deleted:
		state = "being removed"
	case box == nil:
		state = "no container"
	case box.State == cluster.ContainerExited:
		state = fmt.Sprintf("exited (%d)", box.ExitCode)
	case box.State == cluster.ContainerRunning && !box.Ready:
		state = "running, not ready"
	default:
		state = string(box.State)
	}
	if a.Move != "" {
		state += ", moving"
	}
	if len(a.Pending) > 0 {
		state += because(a.Pending[:1])
	}
	return state
}

func portsOf(ports []cluster.Port) string {
	var texts []string
	for _, port := range ports {
		text := fmt.Sprint(port.Internal)
		if port.External != 0 {
			text = fmt.Sprintf("%d->%d", port.External, port.Internal)
		}
		if port.Protocol == "udp" {
			text += "/udp"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func (p printer) application(a api.ApplicationInfo) error {
	t := p.table()
	t.row("Application:", a.Name)
	t.row("Image:", a.Image)
	t.row("Command:", strings.Join(a.Command, " "))
	t.row("Node:", a.NodeName)
	t.row("Address:", a.Address)
	t.row("IPv6 address:", a.Address6)
	t.row("State:", stateOfApplication(a))
	if box := a.Container; box != nil {
		t.row("Container:", short(box.ID))
		if box.Address != "" && box.Address != a.Address { // it is still to get the application's own, or this is an earlier agent's
			t.row("Its address:", box.Address)
		}
		t.row("Restarts:", fmt.Sprint(box.Restarts))
		if box.Error != "" {
			t.row("Error:", box.Error)
		}
	}
	t.row("Ports:", portsOf(a.Ports))
	for _, v := range a.Volumes {
		mode := ""
		if v.ReadOnly {
			mode = ", read-only"
		}
		t.row("Volume:", fmt.Sprintf("%s: dataset %s%s", v.MountPoint, v.Dataset, mode))
	}
	// Values may be secrets: --json shows them to who asks for all.
	t.row("Environment:", strings.Join(slices.Sorted(maps.Keys(a.Environment)), ", "))
	t.row("Restart policy:", string(a.Restart.Name))
	if f := a.FailOver; f != nil {
		t.row("Fail-over:", fmt.Sprintf("by itself, %v after its node is given up; may lose the last %v", f.After, f.MaxLoss))
	}
	t.row("Memory limit:", bytesOf(a.MemoryLimit))
	for _, node := range slices.Sorted(maps.Keys(a.Elsewhere)) {
		t.row("Also on:", node+": "+string(a.Elsewhere[node].State))
	}
	for _, w := range a.Pending {
		t.row("Pending:", w.Reason)
	}
	for _, w := range a.Warnings {
		t.row("Warning:", w)
	}
	if a.Move != "" {
		t.row("Move:", string(a.Move))
	}
	return t.end()
}
