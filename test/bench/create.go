// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

const redisImage = "redis:8"

// createDataset measures from the request to the dataset being mounted, on the storage of the cluster.
func (b *bench) createDataset() section {
	names := []string{"create." + b.lab.Backend, "create." + b.lab.Backend + ".worst"}
	if b.lab.Backend == "btrfs" {
		names = append(names, "create.dataset", "create.dataset.worst") // the default back end's
	}
	return section{names, func(ctx context.Context) ([]result, error) {
		return b.beside(ctx, names, func(name string) (time.Duration, error) {
			begun := time.Now()
			if _, err := b.client.CreateDataset(ctx, api.DatasetRequest{Name: name, Node: "node1"}); err != nil {
				return 0, err
			}
			err := b.until(ctx, "dataset "+name+" to be mounted", func() (bool, error) {
				d, err := b.client.Dataset(ctx, name)
				return d.Path != "", err
			})
			took := time.Since(begun)
			return took, errors.Join(err, b.remove(ctx, "", name))
		})
	}}
}

// createContainer measures from the request to the application's container running.
func (b *bench) createContainer() section {
	names := []string{"create.container", "create.container.worst"}
	return section{names, func(ctx context.Context) ([]result, error) {
		return b.beside(ctx, names, func(name string) (time.Duration, error) {
			app := cluster.Application{
				Name: name, Image: redisImage, Node: "node1",
				Ports: []cluster.Port{{Internal: 6379, External: 6400}},
			}
			begun := time.Now()
			if _, err := b.client.Deploy(ctx, api.DeployRequest{Applications: []cluster.Application{app}}); err != nil {
				return 0, err
			}
			err := b.until(ctx, "application "+name+" to run", func() (bool, error) {
				a, err := b.client.Application(ctx, name)
				return a.Container != nil && a.Container.State == cluster.ContainerRunning, err
			})
			took := time.Since(begun)
			return took, errors.Join(err, b.remove(ctx, name, ""))
		})
	}}
}

// beside makes something several times, in turn with a plain docker run, and returns the
// median and the worst of both, under each pair of names.
func (b *bench) beside(ctx context.Context, names []string, create func(name string) (time.Duration, error)) ([]result, error) {
	if err := b.load(ctx, redisImage); err != nil {
		return nil, err
	}
	var ours, plain []time.Duration
	for i := range choose(b, 20, 10) {
		took, err := create("bench-" + strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		ours = append(ours, took)
		if took, err = b.dockerRun(ctx); err != nil {
			return nil, err
		}
		plain = append(plain, took)
	}
	var results []result
	for pair := range slices.Chunk(names, 2) {
		results = append(results,
			inMilliseconds(pair[0], median(ours), median(plain)),
			inMilliseconds(pair[1], slices.Max(ours), slices.Max(plain)))
	}
	return results, nil
}

// dockerRun is what a plain docker run takes, measured where it runs.
func (b *bench) dockerRun(ctx context.Context) (time.Duration, error) {
	out, err := b.lab.Exec(ctx, "node1", "sh", "-c", `begun=$(date +%s%N)
docker run -d --name bench-plain -p 6401:6379 `+redisImage+` >/dev/null || exit
echo $(( $(date +%s%N) - begun ))
docker rm -f bench-plain >/dev/null`)
	if err != nil {
		return 0, err
	}
	took, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("time of docker run: %w", err)
	}
	return time.Duration(took), nil
}

// load puts an image on every node.
func (b *bench) load(ctx context.Context, image string) error {
	_, err := b.lab.Dev(ctx, "load", image)
	return err
}

// remove removes an application, then a dataset, and waits until nothing is left of
// them; an empty name is left out.
func (b *bench) remove(ctx context.Context, app, dataset string) error {
	if app != "" {
		if _, err := b.client.DeleteApplication(ctx, app); err != nil {
			return err
		}
		if err := b.until(ctx, "application "+app+" to go", func() (bool, error) {
			_, err := b.client.Application(ctx, app)
			return gone(err)
		}); err != nil {
			return err
		}
	}
	if dataset == "" {
		return nil
	}
	if _, err := b.client.DeleteDataset(ctx, dataset); err != nil {
		return err
	}
	return b.until(ctx, "dataset "+dataset+" to go", func() (bool, error) {
		_, err := b.client.Dataset(ctx, dataset)
		return gone(err)
	})
}

func gone(err error) (bool, error) {
	if errors.Is(err, cluster.ErrNotFound) {
		return true, nil
	}
	return false, err
}
