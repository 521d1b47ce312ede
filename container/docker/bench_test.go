// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// BenchmarkLife measures each call of a container's life in milliseconds; a move waits for start and stop.
func BenchmarkLife(b *testing.B) {
	e := engine(b)
	a := cluster.Application{Name: "bench", Image: shared.image, Command: []string{"wait"}}
	took := map[string]time.Duration{}
	step := func(name string, f func() error) {
		started := time.Now()
		if err := f(); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		took[name] += time.Since(started)
	}
	for b.Loop() {
		step("create", func() error {
			_, err := e.Create(b.Context(), spec(a))
			return err
		})
		step("start", func() error { return e.Start(b.Context(), a.Name) })
		step("list", func() error {
			_, err := e.List(b.Context())
			return err
		})
		step("exec", func() error {
			_, _, err := e.Exec(b.Context(), a.Name, []string{"/probe", "exit=0"})
			return err
		})
		step("stop", func() error { return e.Stop(b.Context(), a.Name, "", 0) })
		step("start-again", func() error { return e.Start(b.Context(), a.Name) })
		step("remove", func() error { return e.Remove(b.Context(), a.Name) })
	}
	for name, total := range took {
		b.ReportMetric(float64(total.Milliseconds())/float64(b.N), fmt.Sprintf("ms/%s", name))
	}
	b.ReportMetric(0, "ns/op")
}
