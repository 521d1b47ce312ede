// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func TestWarningsAboutPortsAreShown(t *testing.T) {
	const warning = "port 5432/tcp: postgres (pid 812) listens on it on node2 too"
	app := api.ApplicationInfo{Application: cluster.Application{Name: "db"}, Warnings: []string{warning}}
	report := api.PreflightReport{Checks: []api.Check{
		{Name: "port", Object: "5432/tcp of application db", OK: true, Problem: "postgres (pid 812) listens on it on node3", Remedy: "stop that process"},
	}}
	for what, show := range map[string]struct {
		show func(printer) error
		want string
	}{
		"app":            {func(p printer) error { return p.application(app) }, "Warning:  "},
		"status":         {func(p printer) error { return p.status(api.Status{Applications: []api.ApplicationInfo{app}}) }, "db            " + warning},
		"move --dry-run": {func(p printer) error { return p.preflight(report, "db", "node2") }, "ok, but postgres (pid 812) listens on it on node3; stop that process"},
	} {
		var out bytes.Buffer
		if err := show.show(printer{out: &out}); err != nil || !strings.Contains(out.String(), show.want) {
			t.Errorf("%s says\n%s, %v; want %q in it", what, &out, err, show.want)
		}
	}
	var out bytes.Buffer
	if err := (printer{out: &out}).status(api.Status{Applications: []api.ApplicationInfo{{}}}); err != nil || strings.Contains(out.String(), "WARNING") {
		t.Errorf("without any: %s, %v", &out, err)
	}
}
