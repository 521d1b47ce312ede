// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

// share is of what a move on network storage adds to the application's own stop and start and to what a bare client of the same
// store takes to give a volume back on one node and to have it on the other.
const share = "move.nbd.share"

const sharePort = 7011

// volumes measures moves on a cluster with network storage, beside a bare client on the same nodes.
func (b *bench) volumes() section {
	return section{[]string{share}, func(ctx context.Context) (found []result, err error) {
		v := &volumes{bench: b, lab: &lab.Lab{Binary: b.lab.Binary, Name: b.lab.Name + "-nbd", Nodes: 2, Backend: "nbd"}}
		if err := v.lab.Down(ctx); err != nil {
			return nil, err
		}
		defer func() {
			down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downWithin)
			defer cancel()
			err = errors.Join(err, v.lab.Down(down))
		}()
		if err := v.lab.Up(ctx); err != nil {
			return nil, err
		}
		return v.run(ctx)
	}}
}

type volumes struct {
	*bench
	lab            *lab.Lab
	besides, bares []time.Duration
}

func (v *volumes) run(ctx context.Context) ([]result, error) {
	if _, err := v.lab.Dev(ctx, "load", redisImage); err != nil {
		return nil, err
	}
	bare, err := v.newBare(ctx)
	if err != nil {
		return nil, err
	}
	err = v.lab.Deploy(ctx, fmt.Sprintf(`version: 2
applications:
  kv:
    image: %s
    command: [redis-server, --port, "%d", --protected-mode, "no", --appendonly, "yes", --appendfsync, always, --save, ""]
    ports: [{internal: %d, external: %d}]
    volumes: [{dataset: kv-data, mountpoint: /data}]
    hooks: {preset: redis}
`, redisImage, sharePort, sharePort, sharePort), "version: 1\nnodes:\n  node1: [kv]\n")
	if err != nil {
		return nil, err
	}
	w, err := load.Start(ctx, load.Redis{}, v.lab.Everywhere(sharePort), pace)
	if err != nil {
		return nil, err
	}
	for i := range choose(v.bench, 9, 5) {
		to, from := lab.Node(2-i%2), lab.Node(1+i%2)
		if err = errors.Join(v.move(ctx, w, to), v.carry(ctx, bare, from, to)); err != nil {
			break
		}
	}
	verdict, stopped := w.Stop(ctx)
	if err = errors.Join(err, stopped); err != nil {
		return nil, err
	}
	if verdict.Lost > 0 || verdict.Duplicated > 0 {
		return nil, fmt.Errorf("of %d acknowledged records %d are lost and %d there twice", verdict.Acknowledged, verdict.Lost, verdict.Duplicated)
	}
	base := median(v.bares)
	return []result{inMilliseconds(share, median(v.besides)-base, base)}, nil
}

// move measures one move without what the application itself takes.
func (v *volumes) move(ctx context.Context, w *load.Writer, to string) error {
	if err := w.WaitFor(ctx, settle); err != nil {
		return err
	}
	m, err := v.lab.Move(ctx, "kv", to)
	if err != nil {
		return err
	}
	if m.Report == nil {
		return fmt.Errorf("move of kv to %s has no report", to)
	}
	gap, own := m.Report.Gap.Std(), ownTime(*m.Report)
	v.besides = append(v.besides, gap-own)
	say("   to %s: gap %d ms, of it the application's own %d ms; %s", to, gap.Milliseconds(), own.Milliseconds(), inGap(*m.Report))
	return w.WaitFor(ctx, settle)
}

// newBare puts this program on both nodes and has it make a volume, whose name it returns.
func (v *volumes) newBare(ctx context.Context) (volume string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	for _, node := range v.lab.NodeNames() {
		if err := run.Command(ctx, "docker", "cp", self, "flocker-"+v.lab.Name+"-"+node+":"+bareProgram).Run(); err != nil {
			return "", err
		}
	}
	return v.bare(ctx, "node1", "make", "")
}

// bare lets the bare client on a node do something.
func (v *volumes) bare(ctx context.Context, node, what, volume string) (string, error) {
	out, err := v.lab.Exec(ctx, node, bareProgram, "-bare", what, "-store", v.lab.Address("control"), "-volume", volume)
	return strings.TrimSpace(string(out)), err
}

// carry measures what a bare client takes to bring its volume from node to node.
func (v *volumes) carry(ctx context.Context, volume, from, to string) error {
	if _, err := v.bare(ctx, from, "attach", volume); err != nil { // it may be there from the round before
		return err
	}
	var took [2]time.Duration
	for i, step := range [][2]string{{from, "detach"}, {to, "attach"}} {
		said, err := v.bare(ctx, step[0], step[1], volume)
		if err != nil {
			return err
		}
		if took[i], err = time.ParseDuration(said); err != nil {
			return err
		}
	}
	say("   a bare client: detached in %d ms, attached in %d ms", took[0].Milliseconds(), took[1].Milliseconds())
	v.bares = append(v.bares, took[0]+took[1])
	return nil
}
