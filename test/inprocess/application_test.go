// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"context"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/cluster"
	enginemem "github.com/flocker-project/flocker/container/mem"
)

const (
	// journal is the file in which an application keeps its records, in each of its datasets.
	journal    = "journal"
	writeEvery = 10 * time.Millisecond
)

// program is what every container runs: it writes numbered records, and answers its client once they are in all of its datasets.
func (n *node) program(ctx context.Context, p enginemem.Process) int {
	app := p.Spec.Application.Name
	if n.behaves(app) == ends {
		fmt.Fprintln(p.Output, "the last words of", app)
		return 3
	}
	texts := map[cluster.DatasetID][]byte{}
	for _, m := range p.Spec.Mounts {
		files, err := n.diskOf(m.Dataset).Files(m.Dataset)
		if err != nil {
			fmt.Fprintln(p.Output, "cannot read my data:", err)
			return 1
		}
		texts[m.Dataset] = files[journal]
	}
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.Signals:
			return 0
		case <-ctx.Done():
			return 137
		case <-tick.C:
		}
		var err error
		p.Work(func() { err = n.record(app, texts) })
		if err != nil {
			fmt.Fprintln(p.Output, "cannot write:", err)
			return 1
		}
	}
}

// record writes the next record to every dataset, and answers the client.
func (n *node) record(app string, texts map[cluster.DatasetID][]byte) error {
	number := n.w.ledger.number(app)
	for id, text := range texts {
		texts[id] = fmt.Appendf(text, "%d\n", number)
		if err := n.diskOf(id).Write(id, journal, texts[id]); err != nil {
			return err
		}
	}
	if n.heard(app) {
		n.w.ledger.answered(app, number)
	}
	return nil
}
