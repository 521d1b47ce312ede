// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

func (s Subject) create(t *testing.T, a cluster.Application) {
	t.Helper()
	if _, err := s.Engine.Create(t.Context(), s.spec(a)); err != nil {
		t.Fatalf("Create(%s) = %v", a.Name, err)
	}
}

func execRuns(t *testing.T, s Subject) {
	a := s.started(t, "wait")
	code, output, err := s.Engine.Exec(t.Context(), a.Name, []string{"/probe", "print=inside", "exit=4"})
	if err != nil || code != 4 || strings.TrimSpace(output) != "inside" {
		t.Errorf("Exec() = %d, %q, %v; want 4, inside", code, output, err)
	}
	long := strings.Repeat("x", 1000)
	many := []string{"/probe"}
	for range 100 {
		many = append(many, "print="+long)
	}
	_, output, err = s.Engine.Exec(t.Context(), a.Name, append(many, "print=last"))
	if err != nil || len(output) > 64<<10 || !strings.HasSuffix(output, "last\n") {
		t.Errorf("Exec() = %d bytes of output, %v; want the last 64 KiB", len(output), err)
	}
}

func execNotRunning(t *testing.T, s Subject) {
	a := s.created(t, "wait")
	if _, _, err := s.Engine.Exec(t.Context(), a.Name, []string{"/probe"}); !errors.Is(err, container.ErrNotRunning) {
		t.Errorf("Exec(created) = %v; want ErrNotRunning", err)
	}
	if _, _, err := s.Engine.Exec(t.Context(), "suite-absent", []string{"/probe"}); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("Exec(absent) = %v; want ErrNotFound", err)
	}
}

func lastLogs(t *testing.T, s Subject) {
	a := s.created(t, "print=one", "print=two", "print=three")
	s.start(t, a.Name)
	s.untilState(t, a.Name, cluster.ContainerExited)
	logs, err := s.Engine.Logs(t.Context(), a.Name, 2)
	if err != nil || logs != "two\nthree\n" {
		t.Errorf("Logs() = %q, %v; want the last two lines", logs, err)
	}
	if _, err := s.Engine.Logs(t.Context(), "suite-absent", 2); !errors.Is(err, container.ErrNotFound) {
		t.Errorf("Logs(absent) = %v; want ErrNotFound", err)
	}
}

func imagesTravel(t *testing.T, s Subject) {
	const ref = "containertest/travel:1"
	s.CopyImage(t, ref)
	id, size, err := s.Engine.HasImage(t.Context(), ref)
	if err != nil || id == "" || size <= 0 {
		t.Fatalf("HasImage() = %q, %d, %v", id, size, err)
	}
	var archive bytes.Buffer
	if err := s.Engine.Export(t.Context(), ref, &archive); err != nil {
		t.Fatalf("Export() = %v", err)
	}
	s.RemoveImage(t, ref)
	if err := s.Engine.Import(t.Context(), bytes.NewReader(archive.Bytes()[:archive.Len()/2])); err == nil {
		t.Error("Import(half an archive) = nil; want an error")
	}
	if _, _, err := s.Engine.HasImage(t.Context(), ref); !errors.Is(err, container.ErrImageMissing) {
		t.Errorf("HasImage() after half an import = %v; want ErrImageMissing", err)
	}
	if err := s.Engine.Import(t.Context(), &archive); err != nil {
		t.Fatalf("Import() = %v", err)
	}
	again, _, err := s.Engine.HasImage(t.Context(), ref)
	if err != nil || again != id {
		t.Errorf("HasImage() after Import() = %q, %v; want %q by the same tag", again, err, id)
	}
	s.RemoveImage(t, ref)
}

func missingImages(t *testing.T, s Subject) {
	const absent = "containertest/absent:1"
	if _, _, err := s.Engine.HasImage(t.Context(), absent); !errors.Is(err, container.ErrImageMissing) {
		t.Errorf("HasImage() = %v; want ErrImageMissing", err)
	}
	if err := s.Engine.Export(t.Context(), absent, &bytes.Buffer{}); !errors.Is(err, container.ErrImageMissing) {
		t.Errorf("Export() = %v; want ErrImageMissing", err)
	}
	if err := s.Engine.Import(t.Context(), strings.NewReader("no archive")); err == nil {
		t.Error("Import(no archive) = nil; want an error")
	}
}
