// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
)

// published counts how often the rules were made or compared.
type published struct {
	Network
	times int
	last  []network.Publication
}

func (p *published) Publish(_ context.Context, set []network.Publication) error {
	p.times++
	p.last = set
	return nil
}

// Rounds come in crowds: rules that are as they should be are compared again only now and then, and changed at once.
func TestRulesAreComparedNowAndThenAndChangedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := &published{}
		e := &exposure{agent: &Agent{Config: Config{Network: rules}}, ports: map[string][]network.Publication{}}
		desired := cluster.NewDesired()
		desired.Complete, desired.Session = true, "s"
		desired.Nodes["n"] = cluster.Node{ID: "n", Session: "s", BootID: "b"}
		desired.Applications["db"] = cluster.Application{
			Name: "db", Node: "n", Ports: []cluster.Port{{Internal: 1, External: 2}},
		}
		observed := cluster.Observed{Node: "n", BootID: "b", Session: "s", Containers: map[string]cluster.Container{}}
		settle := func() {
			if err := e.settle(t.Context(), desired, observed); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			settle()
		}
		if rules.times != 1 {
			t.Errorf("10 rounds in which nothing changed looked at the rules %d times; want once", rules.times)
		}
		<-time.After(recheckAfter)
		if settle(); rules.times != 2 {
			t.Errorf("after %v the rules were looked at %d times; want twice", recheckAfter, rules.times)
		}
		observed.Containers["db"] = cluster.Container{
			Application: "db", State: cluster.ContainerRunning, GateOpen: true, Address: "10.0.0.2",
		}
		if settle(); rules.times != 3 || len(rules.last) != 1 || rules.last[0].External != 2 {
			t.Errorf("a new port: %d times, %+v; want it published at once", rules.times, rules.last)
		}
	})
}
