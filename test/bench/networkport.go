// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

const (
	oursPort  = 6430
	plainPort = 6431
)

// serverCommand keeps the disk out of what is measured.
func serverCommand() []string {
	return []string{"redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no"}
}

// ports compares a published port of an application on node1, as it answers on a node, with one that Docker itself
// publishes on node1 for the same server.
func (b *bench) ports(where, node string) section {
	names := []string{"network.port." + where + ".throughput", "network.port." + where + ".latency"}
	return section{names, func(ctx context.Context) (all []result, err error) {
		if err := b.load(ctx, redisImage); err != nil {
			return nil, err
		}
		// What the way of a packet costs is seen only where the links do not limit it.
		if _, err := b.lab.Dev(ctx, "link", "none"); err != nil {
			return nil, err
		}
		after := context.WithoutCancel(ctx)
		defer func() {
			_, shaped := b.lab.Dev(after, "link", b.lab.Link)
			err = errors.Join(err, shaped)
		}()
		defer func() { err = errors.Join(err, b.stopServers(after)) }()
		if err := b.startServers(ctx); err != nil {
			return nil, err
		}
		ours, plain := respServer{at: b.portOn(node, oursPort)}, respServer{at: b.portOn("node1", plainPort)}
		// Many short turns: what else this machine does then meets both alike.
		for i := range choose(b, 41, 21) {
			// Who goes first changes, so that what was before is nobody's advantage.
			both := []*respServer{&ours, &plain}
			if i%2 == 1 {
				slices.Reverse(both)
			}
			for _, s := range both {
				if err := s.measure(ctx, 100, 1000); err != nil {
					return nil, fmt.Errorf("%s: %w", s.at, err)
				}
			}
		}
		say("   with Flocker: %s", &ours)
		say("   Docker's own: %s", &plain)
		return []result{
			newResult(names[0], ours.rate(), "MB/s", plain.rate()),
			inMilliseconds(names[1], median(ours.medians), median(plain.medians)),
		}, nil
	}}
}

func (b *bench) portOn(node string, port int) string {
	return net.JoinHostPort(b.lab.Address(node), strconv.Itoa(port))
}

// startServers runs the same server with Flocker and without, both on node1, and waits until both answer.
func (b *bench) startServers(ctx context.Context) error {
	app := cluster.Application{
		Name: "bench-port", Image: redisImage, Node: "node1", Command: serverCommand(),
		Ports: []cluster.Port{{Internal: 6379, External: oursPort}},
	}
	if _, err := b.client.Deploy(ctx, api.DeployRequest{Applications: []cluster.Application{app}}); err != nil {
		return err
	}
	run := append([]string{"docker", "run", "-d", "--name", "bench-port", "-p", fmt.Sprintf("%d:6379", plainPort), redisImage}, serverCommand()...)
	if _, err := b.lab.Exec(ctx, "node1", run...); err != nil {
		return err
	}
	for _, at := range append(b.lab.Everywhere(oursPort), b.portOn("node1", plainPort)) {
		if err := b.until(ctx, at+" to answer", func() (bool, error) {
			c, err := dialResp(ctx, at)
			if err != nil {
				return false, err
			}
			_, err = c.pings(1)
			return err == nil, errors.Join(err, c.Close())
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) stopServers(ctx context.Context) error {
	_, err := b.lab.Exec(ctx, "node1", "sh", "-c", "docker rm -f bench-port >/dev/null 2>&1; true")
	if _, missing := b.client.Application(ctx, "bench-port"); errors.Is(missing, cluster.ErrNotFound) {
		return err
	}
	return errors.Join(err, b.remove(ctx, "bench-port", ""))
}

// respServer is what was measured of one server.
type respServer struct {
	at      string
	rates   []time.Duration // for one MB
	medians []time.Duration // of a small request with its answer
}

// measure opens a new connection, as each is led anew.
func (s *respServer) measure(ctx context.Context, megabytes, requests int) (err error) {
	c, err := dialResp(ctx, s.at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	waits, err := c.pings(requests)
	if err != nil {
		return err
	}
	took, err := c.bulk(megabytes)
	if err != nil {
		return err
	}
	s.medians, s.rates = append(s.medians, median(waits)), append(s.rates, took/time.Duration(megabytes))
	return nil
}

func (s *respServer) rate() float64 { return 1 / median(s.rates).Seconds() }

// String is how far the turns were apart.
func (s *respServer) String() string {
	return fmt.Sprintf("%.0f MB/s (%.0f to %.0f) and %.3f ms (%.3f to %.3f)", s.rate(), 1/slices.Max(s.rates).Seconds(), 1/slices.Min(s.rates).Seconds(),
		milliseconds(median(s.medians)), milliseconds(slices.Min(s.medians)), milliseconds(slices.Max(s.medians)))
}
