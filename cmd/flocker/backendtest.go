// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/backend/backendtest/contract"
	"github.com/flocker-project/flocker/backend/external"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// driverTest are the flags of flocker backend test.
type driverTest struct {
	only       string
	filesystem string
	size       string
	timeout    time.Duration
	scratch    bool
}

func backendTestCommand() *cobra.Command {
	var o driverTest
	cmd := &cobra.Command{
		Use:   "test SOCKET [SECOND-SOCKET]",
		Short: "Run the contract of storage against a driver",
		Long: `Run the contract of storage against a driver that is a program of its own: what Flocker's own drivers are tested with.
Run it as root on the machine of the driver. The second socket is the driver of another machine that shares the store; both
may be on this one, as long as each gives its machine another name. Without it, what takes two machines is skipped.

It makes, formats and destroys volumes of clusters that it makes up, and touches no others; but a driver with a mistake may. So
it refuses a driver that has volumes attached here, unless --scratch says that nothing of the store is needed.`,
		Example: `  flocker backend test /run/one.sock /run/two.sock
  flocker backend test /run/one.sock --run 'Attach|Race'
  flocker backend test /run/one.sock --run Lifecycle/CreateTwice --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), newPrinter(cmd), args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.only, "run", "", "only the checks whose names match, a regular expression for each level, with slashes between")
	f.StringVar(&o.filesystem, "filesystem", "ext4", "of the volumes: "+strings.Join(mount.Formats(), ", "))
	f.StringVar(&o.size, "size", "", "of the volumes (default the smallest that the filesystem fits into)")
	f.DurationVar(&o.timeout, "timeout", external.DefaultTimeout, "how long the driver may take for a call")
	f.BoolVar(&o.scratch, "scratch", false, "whatever is in the store may get lost")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("filesystem", cobra.FixedCompletions(mount.Formats(), cobra.ShellCompDirectiveNoFileComp))) // only a flag that does not exist makes one
	return cmd
}

// driverReport is what became of a test.
type driverReport struct {
	Drivers []external.Greeting `json:"drivers"`
	Checks  []driverCheck       `json:"checks"`
	Passed  int                 `json:"passed"`
	Failed  int                 `json:"failed"`
	Skipped int                 `json:"skipped"`
	Took    cluster.Duration    `json:"took"`
}

type driverCheck struct {
	Name    string           `json:"name"`
	Outcome contract.Outcome `json:"outcome"`
	Took    cluster.Duration `json:"took"`
	Lines   []string         `json:"lines,omitempty"`
}

func (o driverTest) run(ctx context.Context, p printer, sockets []string) error {
	store, err := o.store(sockets)
	if err != nil {
		return err
	}
	only, err := contract.ParsePattern(o.only)
	if err != nil {
		return err
	}
	report := driverReport{Checks: []driverCheck{}}
	if report.Drivers, err = o.greet(ctx, store); err != nil {
		return err
	}
	if !p.json {
		if err := p.greeted(report.Drivers, store); err != nil {
			return err
		}
	}
	begin := time.Now()
	var unheard error
	stopped := contract.Run(ctx, only, func(r contract.Result) {
		check := report.add(r)
		if !p.json {
			unheard = errors.Join(unheard, p.checked(check))
		}
	}, func(t contract.T) { contract.Volumes(t, store.fresh) })
	report.Took = cluster.Duration(time.Since(begin))
	err = p.show(report, func() error {
		return p.say("\n%d passed, %d failed, %d skipped, in %s", report.Passed, report.Failed, report.Skipped, took(report.Took))
	})
	if err := errors.Join(stopped, err, unheard); err != nil {
		return err
	}
	return report.verdict(o.only)
}

// verdict is an error where the driver does not keep the contract, or nothing shows that it does.
func (r *driverReport) verdict(only string) error {
	switch {
	case r.Failed > 0:
		return fmt.Errorf("the driver does not keep the contract: %d of %d checks failed", r.Failed, len(r.Checks))
	case len(r.Checks) == 0:
		return fmt.Errorf("no check matches %q: %w", only, cluster.ErrInvalid)
	}
	return nil
}

func (r *driverReport) add(result contract.Result) driverCheck {
	switch result.Outcome {
	case contract.Passed:
		r.Passed++
	case contract.Failed:
		r.Failed++
	case contract.Skipped:
		r.Skipped++
	}
	check := driverCheck{result.Name, result.Outcome, cluster.Duration(result.Took), result.Lines}
	r.Checks = append(r.Checks, check)
	return check
}

// store checks the flags.
func (o driverTest) store(sockets []string) (*driverStore, error) {
	smallest, known := smallestOf()[o.filesystem]
	if !known {
		return nil, fmt.Errorf("--filesystem %s: %w: it is none of %v", o.filesystem, cluster.ErrInvalid, mount.Formats())
	}
	if o.size != "" {
		size, err := cluster.ParseSize(o.size)
		if err != nil {
			return nil, fmt.Errorf("--size: %w", err)
		}
		smallest = size
	}
	if o.timeout <= 0 {
		return nil, fmt.Errorf("--timeout %s: %w: it is not positive", o.timeout, cluster.ErrInvalid)
	}
	s := &driverStore{cluster: uuid.NewString(), filesystem: o.filesystem, smallest: smallest, timeout: o.timeout}
	for _, socket := range sockets {
		path, err := filepath.Abs(socket)
		if err != nil {
			return nil, fmt.Errorf("socket: %w", err)
		}
		s.sockets = append(s.sockets, path)
	}
	return s, nil
}

// greet asks the drivers who they are, and whether they are in use.
func (o driverTest) greet(ctx context.Context, store *driverStore) (all []external.Greeting, err error) {
	for i := range store.sockets {
		g, err := external.Greet(ctx, store.config(i))
		if err != nil {
			return nil, err
		}
		all = append(all, g)
		volumes, err := external.Open(ctx, store.config(i))
		if err != nil {
			return nil, err
		}
		attached, err := volumes.Attached(ctx)
		if err != nil {
			return nil, err
		}
		if len(attached) > 0 && !o.scratch {
			return nil, fmt.Errorf("%s has %d volumes attached, so somebody uses its store, and a driver with a mistake could harm it: %w; say --scratch if nothing of it is needed",
				g.Machine, len(attached), cluster.ErrPrecondition)
		}
	}
	if len(all) == 2 && all[0].Machine == all[1].Machine {
		return nil, fmt.Errorf("both drivers call their machine %q: %w: give each another name", all[0].Machine, cluster.ErrInvalid)
	}
	return all, nil
}

func (p printer) greeted(drivers []external.Greeting, store *driverStore) error {
	for i, g := range drivers {
		abilities := "no optional abilities"
		if len(g.Abilities) > 0 {
			abilities = fmt.Sprintf("abilities %v", g.Abilities)
		}
		if err := p.say("%s: driver %s of machine %s, protocol %d, %s", store.sockets[i], g.Driver, g.Machine, g.Protocol, abilities); err != nil {
			return err
		}
	}
	return p.say("")
}

func (p printer) checked(c driverCheck) error {
	err := p.say("%-8s%-66s%9s", c.Outcome, c.Name, time.Duration(c.Took).Round(time.Millisecond))
	if c.Outcome == contract.Passed {
		return err
	}
	for _, line := range c.Lines {
		err = errors.Join(err, p.say("        %s", strings.ReplaceAll(strings.TrimSpace(line), "\n", "\n        ")))
	}
	return err
}
