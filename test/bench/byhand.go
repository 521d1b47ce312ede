// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

// restarts is how often a plain stop and start is measured.
const restarts = 5

// withoutFlocker measures the same database with the same data in a container of
// Docker's own: moved by hand, and stopped and started where it is.
func (d *database) withoutFlocker(ctx context.Context) (moved, restarted time.Duration, err error) {
	hand := lab.ByHand{
		Lab: d.lab, Name: "by-hand-" + d.app(), Image: postgresImage, Port: d.port, Inner: 5432,
		Args: []string{"-e", "POSTGRES_PASSWORD=" + password}, Data: "/var/lib/postgresql/data",
	}
	nodes := []string{"node1", "node2"}
	d.everywhere = hand.Addresses(nodes...)
	defer func() {
		for _, node := range nodes {
			err = errors.Join(err, hand.Remove(context.WithoutCancel(ctx), node))
		}
	}()
	for _, node := range nodes {
		if err := d.likeOurs(ctx, node); err != nil {
			return 0, 0, err
		}
	}
	if err := hand.Start(ctx, "node1"); err != nil {
		return 0, 0, err
	}
	if err := d.fill(ctx, hand.Name); err != nil {
		return 0, 0, err
	}
	err = d.underWrites(ctx, func(w *load.Writer) (err error) {
		if restarted, err = d.restart(ctx, w, hand); err != nil {
			return err
		}
		moved, err = d.moveByHand(ctx, w, hand)
		return err
	})
	return moved, restarted, err
}

// likeOurs gives Docker's own bridge the setting that spares Flocker's a second of
// waiting for a neighbour's address, so that it is not what is compared.
func (d *database) likeOurs(ctx context.Context, node string) error {
	_, err := d.lab.Exec(ctx, node, "sysctl", "-q", "-w", "net.ipv4.neigh.docker0.retrans_time_ms=20")
	return err
}

func (d *database) restart(ctx context.Context, w *load.Writer, hand lab.ByHand) (time.Duration, error) {
	var stalls []time.Duration
	for range restarts {
		stall, err := stallOf(ctx, w, func() error {
			_, err := d.lab.Exec(ctx, "node1", "sh", "-c", "docker stop -t 60 "+hand.Name+" && docker start "+hand.Name)
			return err
		})
		if err != nil {
			return 0, err
		}
		say("   stopped and started by hand: stall %d ms", stall.Milliseconds())
		stalls = append(stalls, stall)
	}
	return median(stalls), nil
}

func (d *database) moveByHand(ctx context.Context, w *load.Writer, hand lab.ByHand) (time.Duration, error) {
	var stalls []time.Duration
	for i := range d.byHand {
		from, to := lab.Node(1+i%2), lab.Node(2-i%2)
		stall, err := stallOf(ctx, w, func() error { return hand.Move(ctx, from, to) })
		if err != nil {
			return 0, err
		}
		say("   to %s by hand: stall %d ms", to, stall.Milliseconds())
		stalls = append(stalls, stall)
		if err := hand.Remove(ctx, from); err != nil {
			return 0, err
		}
	}
	return median(stalls), nil
}
