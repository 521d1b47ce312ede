// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"os"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/internal/run"
)

// Docker accepts the guard as a source, since it exists, and no container can mount it: a creation that is cut short leaves nothing
// that could start beside its data.
func TestGuardExistsAndCannotBeMounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a mount namespace")
	}
	e := &Engine{config: Config{SourceDir: t.TempDir()}}
	place := t.TempDir()
	mounts := []container.Mount{{Source: place}}
	if err := e.guardSources("app", mounts); err != nil {
		t.Fatal(err)
	}
	link := e.sourceLink("app", 0)
	if _, err := os.Stat(link); err != nil {
		t.Errorf("the guard does not exist: %v", err)
	}
	// A container's mount namespace, like this one, is younger than the one that its runtime came from.
	err := run.Command(t.Context(), "unshare", "--mount", "mount", "--bind", link, e.config.SourceDir).Run()
	if err == nil {
		t.Error("the guard can be mounted on a folder")
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = run.Command(t.Context(), "unshare", "--mount", "mount", "--bind", link, file).Run()
	if err == nil || strings.Contains(err.Error(), "not a directory") {
		t.Errorf("mounting the guard on a file: %v; want the kernel to refuse", err)
	}
	if err := e.linkSources("app", mounts); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != place {
		t.Errorf("the link leads to %q, %v; want %s", target, err, place)
	}
}
