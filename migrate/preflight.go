// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// Preflight checks both ends of a move that need not be stored, changes nothing, and
// predicts the gap.
func (n *Node) Preflight(ctx context.Context, m cluster.Move, desired cluster.Desired) (api.PreflightReport, error) {
	_, seen := n.View()
	report := api.PreflightReport{Checks: n.checkSource(m, desired, seen)}
	var apps []cluster.Application
	var sets []cluster.Dataset
	for _, name := range m.Applications {
		apps = append(apps, desired.Applications[name])
	}
	for _, id := range m.Datasets {
		sets = append(sets, desired.Datasets[id])
	}
	last := budgetOf(m)
	if n.anyAttaches(sets) {
		last = max(last, usualAttach)
	}
	report.PredictedGap, report.Basis = predictGap(m, apps, desired, last)
	if !report.OK() {
		return report, nil
	}
	req, err := n.prepareRequest(ctx, m, apps, sets)
	if err != nil {
		return report, err
	}
	req.DryRun = true
	reply, err := n.Peers.Prepare(ctx, desired.Nodes[m.Target], req)
	if err != nil {
		report.Checks = append(report.Checks, unreached(err, nodeName(desired, m.Target), nodeName(desired, n.ID)))
		return report, nil // the check says it
	}
	report.Checks = append(report.Checks, reply.Checks...)
	images, err := n.checkImages(ctx, apps, reply.NeedImages, nodeName(desired, n.ID))
	report.Checks = append(report.Checks, images...)
	for _, d := range sets {
		if !n.attaches(d) && common(seen.Copies[d.ID].Snapshots, reply.Snapshots[d.ID]).Name == "" {
			report.Bytes += req.Bytes[d.ID]
		}
	}
	return report, err
}

func unreached(err error, name, from string) api.Check {
	return api.Check{
		Name: "node", Object: "node " + name, Problem: err.Error(),
		Remedy: "see whether the agent of " + name + " runs and is reached from " + from, Node: name,
	}
}

// checkImages says where the target gets the images from.
func (n *Node) checkImages(ctx context.Context, apps []cluster.Application, missing []string, here string) ([]api.Check, error) {
	c := &checks{node: here}
	for _, app := range apps {
		if !slices.Contains(missing, app.Image) {
			c.add("image", app.Image, "", "")
			continue
		}
		_, _, err := n.Engine.HasImage(ctx, app.Image)
		switch {
		case err == nil:
			c.add("image", app.Image, "", "")
		case errors.Is(err, container.ErrImageMissing):
			c.add("image", app.Image, "is neither on the source nor on the target", "pull it on either, or see that the registry is reached")
		default:
			return c.all, fmt.Errorf("look for image %s: %w", app.Image, err)
		}
	}
	return c.all, nil
}

// budgetOf is how long the last delta of a move may take.
func budgetOf(m cluster.Move) time.Duration {
	if budget := m.Options.GapBudget.Std(); budget > 0 {
		return budget
	}
	return defaultGapBudget
}

// What a cut-over takes where nothing is known of the application, measured with PostgreSQL
// and Redis on btrfs: its stop, its start, and all else.
const (
	usualStop  = 250 * time.Millisecond
	usualStart = 250 * time.Millisecond
	usualRest  = 150 * time.Millisecond
	// usualAttach is detaching and attaching where nothing is known of the store. Clouds take seconds.
	usualAttach = 500 * time.Millisecond
)

// predictGap rests on the application's earlier moves where there are any, else on what the last delta is expected to take.
func predictGap(m cluster.Move, apps []cluster.Application, desired cluster.Desired, last time.Duration) (cluster.Duration, string) {
	var gaps []time.Duration
	for _, old := range desired.Moves {
		if old.Report != nil && old.Report.Gap > 0 && sharesApplication(old, m) {
			gaps = append(gaps, old.Report.Gap.Std())
		}
	}
	if len(gaps) > 0 {
		slices.Sort(gaps)
		return cluster.Duration(gaps[len(gaps)/2]), fmt.Sprintf("median of %d earlier moves of %s", len(gaps), strings.Join(m.Applications, ", "))
	}
	if len(apps) == 0 {
		return cluster.Duration(last + usualRest), "gap budget and usual times of storage"
	}
	stop := usualStop
	for _, app := range apps {
		if signal, timeout := StopOf(app); signal == "" && app.Hooks.Preset == "" {
			stop = max(stop, min(timeout, time.Second))
		}
	}
	return cluster.Duration(stop + usualStart + usualRest + last), "usual times of a database; no earlier move of " + strings.Join(m.Applications, ", ")
}

func sharesApplication(a, b cluster.Move) bool {
	return slices.ContainsFunc(a.Applications, func(name string) bool { return slices.Contains(b.Applications, name) })
}
