// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestChildrenAreCollectedWithHowTheyEnded(t *testing.T) {
	f := newFamily(slog.New(slog.DiscardHandler))
	quit, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); f.reap(quit) }()
	defer func() { close(quit); <-done }()

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.start([]string{"sh", "-c", "echo out; echo err >&2; exit 3"}, w, []string{"PATH=/usr/bin:/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-p.ended; got != "exit status 3" {
		t.Errorf("ended with %q; want exit status 3", got)
	}
	if err := p.signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end = %v; want ErrProcessDone", err)
	}
	p, err = f.start([]string{"sleep", "600"}, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := <-p.ended; got != "killed by SIGKILL" {
		t.Errorf("ended with %q; want killed by SIGKILL", got)
	}
	if _, err := f.start([]string{"no-such-program"}, w, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start of a missing program = %v; want ErrNotExist", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(r); err != nil || string(out) != "out\nerr\n" {
		t.Errorf("output %q, %v", out, err)
	}
}

func TestLogNeverGrowsBeyondTwiceItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	l, err := openLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := l.Write([]byte(strings.Repeat(string(rune('a'+i%26)), 29) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{path, path + ".1"} {
		content, err := os.ReadFile(name)
		if err != nil || len(content) == 0 || len(content) > 100 {
			t.Errorf("%s: %d bytes, %v; want 1 to 100", name, len(content), err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(content, []byte(strings.Repeat("x", 29))) {
		t.Errorf("the newest line is missing: %q, %v", content, err)
	}
	again, err := openLog(path, 100)
	if err != nil || again.size != int64(len(content)) {
		t.Errorf("reopened log counts from %d, %v; want %d", again.size, err, len(content))
	}
}
