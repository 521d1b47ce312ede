// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// lookAgain is how soon a wait looks without having been told that anything changed.
const lookAgain = 2 * time.Second

// awaitReady waits until every application runs and is ready, and says what each waits for.
func awaitReady(ctx context.Context, c *api.Client, p printer, names []string, timeout time.Duration) error {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	changed := wakes(within, c)
	done := map[string]bool{}
	said := map[string]string{}
	for {
		apps, err := c.Applications(within)
		if err != nil && (!errors.Is(err, cluster.ErrUnavailable) || within.Err() != nil) {
			return errors.Join(ctx.Err(), notReady(said, done, timeout), err)
		}
		clear(done)
		for _, name := range names {
			text, ready, err := readiness(apps, name)
			if err != nil {
				return err
			}
			if text != said[name] {
				if err := p.say("%s", text); err != nil {
					return err
				}
			}
			if said[name] = text; ready {
				done[name] = true
			}
		}
		if len(done) == len(names) {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-within.Done():
			return errors.Join(ctx.Err(), notReady(said, done, timeout))
		}
	}
}

func notReady(said map[string]string, done map[string]bool, timeout time.Duration) error {
	var waiting []string
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if !done[name] {
			waiting = append(waiting, said[name])
		}
	}
	return fmt.Errorf("not everything was ready within %s: %s", timeout, strings.Join(waiting, "; "))
}

// readiness says where an application stands. An application that has failed for good is an error.
func readiness(apps []api.ApplicationInfo, name string) (text string, ready bool, err error) {
	for _, a := range apps {
		if a.Name != name {
			continue
		}
		where := fmt.Sprintf("application %s on node %s", name, a.NodeName)
		box := a.Container
		switch {
		case box == nil || box.Spec != a.SpecHash():
			return where + " is being started" + because(a.Pending), false, nil
		case box.State == cluster.ContainerRunning && box.Ready:
			return where + " is ready", true, nil
		case box.State == cluster.ContainerExited && box.Ended && a.Restart.Name != cluster.RestartAlways:
			if box.ExitCode == 0 && a.Restart.Name != cluster.RestartOnFailure {
				return where + " has ended", true, nil
			}
			if a.Restart.Name == cluster.RestartNever {
				return "", false, fmt.Errorf("%s ended with exit code %d; see \"flocker app logs %s\"", where, box.ExitCode, name)
			}
		}
		return fmt.Sprintf("%s is %s, not ready%s", where, box.State, because(a.Pending)), false, nil
	}
	return "application " + name + " is not known yet", false, nil
}

func because(pending []api.Pending) string {
	var reasons []string
	for _, w := range pending {
		reasons = append(reasons, w.Reason)
	}
	if len(reasons) == 0 {
		return ""
	}
	return ": " + strings.Join(reasons, "; ")
}

// wakes tells when anything in the cluster has changed, until the context ends.
func wakes(ctx context.Context, c *api.Client) <-chan struct{} {
	changed := make(chan struct{}, 1)
	go func() {
		// A stream that breaks is not begun again: looking from time to time goes on.
		_ = c.Events(ctx, 0, func(api.Event) error {
			select {
			case changed <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	return changed
}
