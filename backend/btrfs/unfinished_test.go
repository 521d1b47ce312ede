// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/btrfs"
)

// stuck gives some bytes, says so, and then nothing until it is let go.
type stuck struct {
	io.Reader
	reached chan struct{}
	release chan struct{}
}

func newStuck(t *testing.T, data []byte) *stuck {
	t.Helper()
	s := &stuck{bytes.NewReader(data), make(chan struct{}), make(chan struct{})}
	t.Cleanup(func() { close(s.release) })
	return s
}

func (s *stuck) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	close(s.reached)
	<-s.release
	return 0, io.ErrClosedPipe
}

// TestAReaderThatHangsIsLeft gives up in the middle of a stream whose reader does not notice.
func TestAReaderThatHangsIsLeft(t *testing.T) {
	s := newStage(t)
	steps := s.valid()
	whole := made(steps...)
	for _, cut := range []int{0, len(whole) / 2, len(whole)} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			reader := newStuck(t, whole[:cut])
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-reader.reached
				cancel()
			}()
			begun := time.Now()
			_, err := s.driver.Receive(ctx, backend.Arrival{Dataset: dataset}, backendtest.Saying(s.announced), reader)
			if !errors.Is(err, context.Canceled) || time.Since(begun) > 5*time.Second {
				t.Errorf("Receive = %v after %v; want %v at once", err, time.Since(begun), context.Canceled)
			}
			s.nothing(t, "a reader that hangs")
		})
	}
	t.Run("OfWhatIsThereAlready", func(t *testing.T) {
		if err := s.receive(t, whole); err != nil {
			t.Fatal(err)
		}
		reader := newStuck(t, whole)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-reader.reached
			cancel()
		}()
		if _, err := s.driver.Receive(ctx, backend.Arrival{Dataset: dataset}, backendtest.Saying(s.announced), reader); !errors.Is(err, context.Canceled) {
			t.Errorf("Receive = %v; want %v", err, context.Canceled)
		}
		if err := s.driver.Destroy(t.Context(), dataset); err != nil {
			t.Error(err)
		}
	})
}

// TestAReaderThatEndsWithItsContextHoldsNothing cancels after some of the commands. What is open keeps the pool from being
// unmounted.
func TestAReaderThatEndsWithItsContextHoldsNothing(t *testing.T) {
	s := newStage(t)
	large := s.valid()
	for i := range 40 {
		large = append(large, do(btrfs.Write, btrfs.Fields{btrfs.Path: "data/f", btrfs.Offset: i * 50_000, btrfs.Data: strings.Repeat("x", 50_000)}))
	}
	whole := made(large...)
	for part := range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		go func() {
			for at := 0; at < len(whole); at += 1 << 16 {
				if at >= len(whole)*part/8 {
					cancel()
				}
				if _, err := w.Write(whole[at:min(at+1<<16, len(whole))]); err != nil || ctx.Err() != nil {
					break
				}
			}
			w.CloseWithError(ctx.Err())
		}()
		_, err := s.driver.Receive(ctx, backend.Arrival{Dataset: dataset}, backendtest.Saying(s.announced), r)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Receive = %v; want %v", err, context.Canceled)
		}
		s.nothing(t, "a cancelled context")
		deadline := time.After(5 * time.Second)
		for left := openBelow(t, s.inPool()); len(left) > 0; left = openBelow(t, s.inPool()) {
			select {
			case <-deadline:
				t.Fatalf("open after Receive: %v", left)
			case <-time.After(10 * time.Millisecond): // a slow disk may still mark what was begun
			}
		}
	}
}

// openBelow is what this process has open in a folder, its lock aside.
func openBelow(t *testing.T, dir string) (found []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, dir) && filepath.Base(to) != "lock" {
			found = append(found, to)
		}
	}
	return found
}

// TestANameMayMeanSomethingElseLater writes to names that were other files and folders before.
func TestANameMayMeanSomethingElseLater(t *testing.T) {
	s := newStage(t)
	makes := func(verb btrfs.Verb, name string) step { return do(verb, btrfs.Fields{btrfs.Path: name}) }
	says := func(name, text string) step {
		return do(btrfs.Write, btrfs.Fields{btrfs.Path: name, btrfs.Offset: 0, btrfs.Data: text})
	}
	moves := func(from, to string) step { return do(btrfs.Rename, btrfs.Fields{btrfs.Path: from, btrfs.PathTo: to}) }
	err := s.receive(t, made(append(s.valid()[:3],
		makes(btrfs.MakeFile, "data/a"), says("data/a", "renamed"), moves("data/a", "data/b"),
		makes(btrfs.MakeFile, "data/a"), says("data/a", "removed"), makes(btrfs.Unlink, "data/a"),
		makes(btrfs.MakeFile, "data/a"), says("data/a", "replaced"), makes(btrfs.MakeFile, "data/c"), moves("data/c", "data/a"),
		says("data/a", "last"),
		makes(btrfs.MakeDir, "data/d"), makes(btrfs.MakeFile, "data/d/x"), says("data/d/x", "in the first"), moves("data/d", "data/e"),
		makes(btrfs.MakeDir, "data/d"), makes(btrfs.MakeFile, "data/d/x"), says("data/d/x", "in the second"),
		makes(btrfs.MakeDir, "data/d/y"), makes(btrfs.MakeFile, "data/d/y/z"), makes(btrfs.Unlink, "data/d/y/z"), makes(btrfs.RemoveDir, "data/d/y"),
		makes(btrfs.MakeDir, "data/d/y"), makes(btrfs.MakeFile, "data/d/y/z"), says("data/d/y/z", "in the third"))...))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "last", "b": "renamed", "d/x": "in the second", "e/x": "in the first", "d/y/z": "in the third",
	} {
		got, err := os.ReadFile(s.inPool("datasets", string(dataset), s.announced.Name, "data", name))
		if err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	if err := s.driver.Destroy(t.Context(), dataset); err != nil {
		t.Error(err)
	}
}

// TestAnOwnerTakesNothingElse: a change of owner takes setuid, setgid and capabilities from a file, and old kernels send
// those ahead of it.
func TestAnOwnerTakesNothingElse(t *testing.T) {
	s := newStage(t)
	caps := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	err := s.receive(t, made(append(s.valid(),
		do(btrfs.SetMode, btrfs.Fields{btrfs.Path: "data/f", btrfs.Mode: 0o6755}),
		do(btrfs.SetAttribute, btrfs.Fields{btrfs.Path: "data/f", btrfs.AttributeName: capability, btrfs.AttributeValue: caps}),
		do(btrfs.SetOwner, btrfs.Fields{btrfs.Path: "data/f", btrfs.User: 1, btrfs.Group: 2}))...))
	if err != nil {
		t.Fatal(err)
	}
	f := tree(t, s.inPool("datasets", string(dataset), s.announced.Name, "data"))["/f"]
	if f.Mode != unix.S_IFREG|0o6755 || f.User != 1 || f.Group != 2 || f.Attributes[capability] != caps {
		t.Errorf("the file is %+v", f)
	}
	if err := s.driver.Destroy(t.Context(), dataset); err != nil {
		t.Error(err)
	}
}
