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

const volumesPort = 7011

// volumes measures moves on network storage beside a bare client of the same store on the same nodes: what a move adds to the application's
// own stop and start, and to what the bare client takes to give a volume back on one node and to have it on the other.
func (b *bench) volumes() section {
	share := "move." + b.lab.Backend + ".share"
	return section{[]string{share}, func(ctx context.Context) ([]result, error) {
		v := &volumes{bench: b}
		bare, err := v.newBare(ctx)
		if err != nil {
			return nil, err
		}
		err = b.onVolume(ctx, func(w *load.Writer) error {
			for i := range choose(b, 9, 5) {
				to, from := lab.Node(2-i%2), lab.Node(1+i%2)
				if err := errors.Join(v.move(ctx, w, to), v.carry(ctx, bare, from, to)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		base := median(v.bares)
		return []result{inMilliseconds(share, median(v.besides)-base, base)}, nil
	}}
}

type volumes struct {
	*bench
	besides, bares []time.Duration
}

// onVolume runs Redis on node1 with a writer, lets it be used, and looks at every record.
func (b *bench) onVolume(ctx context.Context, use func(*load.Writer) error) (err error) {
	if err := b.load(ctx, redisImage); err != nil {
		return err
	}
	err = b.lab.Deploy(ctx, fmt.Sprintf(`version: 2
applications:
  kv:
    image: %s
    command: [redis-server, --port, "%d", --protected-mode, "no", --appendonly, "yes", --appendfsync, always, --save, ""]
    ports: [{internal: %d, external: %d}]
    volumes: [{dataset: kv-data, mountpoint: /data}]
    hooks: {preset: redis}
`, redisImage, volumesPort, volumesPort, volumesPort), "version: 1\nnodes:\n  node1: [kv]\n")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(ctx, "kv", "kv-data")) }()
	w, err := load.Start(ctx, load.Redis{}, b.lab.Everywhere(volumesPort), pace)
	if err != nil {
		return err
	}
	err = use(w)
	verdict, stopped := w.Stop(ctx)
	if err = errors.Join(err, stopped); err == nil && verdict.Lost+verdict.Duplicated > 0 {
		err = fmt.Errorf("of %d acknowledged records %d are lost and %d there twice", verdict.Acknowledged, verdict.Lost, verdict.Duplicated)
	}
	return err
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
	out, err := v.lab.Exec(ctx, node, bareProgram, "-bare", what, "-backend", v.lab.Backend, "-store", v.lab.Address("control"), "-volume", volume)
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
