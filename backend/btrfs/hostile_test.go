// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/cluster"
)

// step is a command of a stream that is made by hand.
type step struct {
	verb   btrfs.Verb
	fields btrfs.Fields
}

func do(verb btrfs.Verb, fields btrfs.Fields) step { return step{verb, fields} }

func made(steps ...step) btrfs.Made {
	m := btrfs.NewMade(1)
	for _, s := range append(steps, do(btrfs.End, nil)) {
		m = m.Then(s.verb, s.fields)
	}
	return m
}

// stage is a pool, something beside the datasets that streams must not reach, and what streams are announced as.
type stage struct {
	*harness
	outside   string
	before    map[string]object
	content   uuid.UUID
	announced cluster.Snapshot
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{harness: newPool(t, 256<<20), content: uuid.New()}
	s.announced = cluster.Snapshot{Name: backend.Lineage{Epoch: 1, Serial: 1}.Name(), ID: s.content.String(), Epoch: 1, Serial: 1}
	s.outside = filepath.Join(s.config.Mount, "outside")
	file := filepath.Join(s.outside, "file")
	err := errors.Join(
		os.MkdirAll(filepath.Join(s.outside, "empty"), 0o755),
		os.WriteFile(file, bytes.Repeat([]byte("outside."), 1024), 0o600),
		unix.Setxattr(file, "user.theirs", []byte("1"), 0))
	if err != nil {
		t.Fatal(err)
	}
	s.before = tree(t, s.outside)
	return s
}

// valid uses every command, and makes the ways out that other streams try.
func (s *stage) valid() []step {
	block := strings.Repeat("b", 4096)
	return []step{
		do(btrfs.Subvolume, btrfs.Fields{btrfs.Path: s.announced.Name, btrfs.UUID: s.content[:], btrfs.Transaction: 7}),
		do(btrfs.SetAttribute, btrfs.Fields{btrfs.Path: "", btrfs.AttributeName: "trusted.flocker.dataset", btrfs.AttributeValue: string(dataset)}),
		do(btrfs.MakeDir, btrfs.Fields{btrfs.Path: "data"}),
		do(btrfs.MakeDir, btrfs.Fields{btrfs.Path: "data/empty"}),
		do(btrfs.Symlink, btrfs.Fields{btrfs.Path: "data/out", btrfs.PathLink: s.outside}),
		do(btrfs.Symlink, btrfs.Fields{btrfs.Path: "data/up", btrfs.PathLink: "../../../../../outside"}),
		do(btrfs.Symlink, btrfs.Fields{btrfs.Path: "data/beside", btrfs.PathLink: "empty"}),
		do(btrfs.Symlink, btrfs.Fields{btrfs.Path: "data/victim", btrfs.PathLink: s.outside + "/file"}),
		do(btrfs.MakeFifo, btrfs.Fields{btrfs.Path: "data/fifo"}),
		do(btrfs.MakeSocket, btrfs.Fields{btrfs.Path: "data/socket"}),
		do(btrfs.MakeNode, btrfs.Fields{btrfs.Path: "data/null", btrfs.Mode: unix.S_IFCHR, btrfs.Device: 1<<8 | 3}),
		do(btrfs.MakeFile, btrfs.Fields{btrfs.Path: "data/first"}),
		do(btrfs.Write, btrfs.Fields{btrfs.Path: "data/first", btrfs.Offset: 0, btrfs.Data: block}),
		do(btrfs.Rename, btrfs.Fields{btrfs.Path: "data/first", btrfs.PathTo: "data/f"}),
		do(btrfs.Link, btrfs.Fields{btrfs.Path: "data/g", btrfs.PathLink: "data/f"}),
		do(btrfs.Unlink, btrfs.Fields{btrfs.Path: "data/g"}),
		do(btrfs.MakeDir, btrfs.Fields{btrfs.Path: "data/gone"}),
		do(btrfs.RemoveDir, btrfs.Fields{btrfs.Path: "data/gone"}),
		do(btrfs.MakeFile, btrfs.Fields{btrfs.Path: "data/shared"}),
		do(btrfs.Clone, btrfs.Fields{
			btrfs.Path: "data/shared", btrfs.Offset: 0, btrfs.CloneUUID: s.content[:], btrfs.ClonePath: "data/f",
			btrfs.CloneOffset: 0, btrfs.CloneLength: len(block),
		}),
		do(btrfs.Truncate, btrfs.Fields{btrfs.Path: "data/f", btrfs.Size: 5000}),
		do(btrfs.SetAttribute, btrfs.Fields{btrfs.Path: "data/f", btrfs.AttributeName: "user.mine", btrfs.AttributeValue: ""}),
		do(btrfs.RemoveAttribute, btrfs.Fields{btrfs.Path: "data/f", btrfs.AttributeName: "user.mine"}),
		// These are of the symbolic link itself.
		do(btrfs.SetAttribute, btrfs.Fields{btrfs.Path: "data/victim", btrfs.AttributeName: "trusted.mine", btrfs.AttributeValue: "1"}),
		do(btrfs.SetOwner, btrfs.Fields{btrfs.Path: "data/victim", btrfs.User: 5, btrfs.Group: 6}),
		do(btrfs.SetTimes, btrfs.Fields{btrfs.Path: "data/victim", btrfs.Accessed: [2]int{1, 2}, btrfs.Modified: [2]int{3, 4}}),
		do(btrfs.Link, btrfs.Fields{btrfs.Path: "data/again", btrfs.PathLink: "data/victim"}),
		do(btrfs.SetMode, btrfs.Fields{btrfs.Path: "data/f", btrfs.Mode: 0o640}),
	}
}

// receive gives up soon, so that what hangs is seen.
func (s *stage) receive(t *testing.T, stream []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := s.driver.Receive(ctx, backend.Arrival{Dataset: dataset}, backendtest.Saying(s.announced), bytes.NewReader(stream))
	return err
}

func (s *stage) untouched(t *testing.T, what string) {
	t.Helper()
	if diff := cmp.Diff(s.before, tree(t, s.outside)); diff != "" {
		t.Fatalf("%s changed what is outside: -before +after\n%s", what, diff)
	}
}

// refused wants a stream to fail for the right reason, and to leave nothing.
func (s *stage) refused(t *testing.T, what string, stream []byte, want error) {
	t.Helper()
	if err := s.receive(t, stream); !errors.Is(err, want) {
		t.Errorf("Receive of %s = %v; want %v", what, err, want)
	}
	s.nothing(t, what)
}

// nothing wants no trace of a stream.
func (s *stage) nothing(t *testing.T, what string) {
	t.Helper()
	s.untouched(t, what)
	if copies, err := s.driver.List(t.Context()); err != nil || len(copies) > 0 {
		t.Fatalf("List after %s = %+v, %v; want nothing", what, copies, err)
	}
	if left, err := os.ReadDir(s.inPool("incoming")); err != nil || len(left) > 0 {
		t.Fatalf("incoming after %s: %v, %v; want nothing", what, left, err)
	}
}

func TestAStreamCannotLeaveItsSubvolume(t *testing.T) {
	s := newStage(t)
	valid := s.valid()
	t.Run("ButDoesWhatItMay", func(t *testing.T) {
		if err := s.receive(t, made(valid...)); err != nil {
			t.Fatal(err)
		}
		s.untouched(t, "a valid stream")
		got := tree(t, s.inPool("datasets", string(dataset), s.announced.Name, "data"))
		if f, link := got["/f"], got["/victim"]; f.Size != 5000 || f.Mode != unix.S_IFREG|0o640 || link.User != 5 || link.Names != 2 || link.Modified.Sec != 3 {
			t.Errorf("made of a valid stream: %+v, %+v", f, link)
		}
		if got["/shared"].Size != 4096 || got["/null"].Device != unix.Mkdev(1, 3) {
			t.Errorf("made of a valid stream: %+v, %+v", got["/shared"], got["/null"])
		}
		if err := s.driver.Destroy(t.Context(), dataset); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("ThroughALink", func(t *testing.T) {
		for _, dir := range []string{"data/out/", "data/up/", "data/beside/", "data/victim/"} {
			for _, way := range s.ways(dir+"file", dir+"empty", dir+"new") {
				s.refused(t, fmt.Sprintf("command %d %v", way.verb, way.fields), made(append(valid, way)...), unix.ELOOP)
			}
		}
	})
	t.Run("NorWriteWhatIsNoFile", func(t *testing.T) {
		for _, name := range []string{"data/victim", "data/fifo", "data/socket", "data/null", "data/empty", "data", ""} {
			for _, way := range s.data(name) {
				s.refused(t, fmt.Sprintf("command %d %v", way.verb, way.fields), made(append(valid, way)...), btrfs.ErrStream)
			}
		}
		for want, way := range map[error]step{
			btrfs.ErrStream: do(btrfs.Truncate, btrfs.Fields{btrfs.Path: "data/victim", btrfs.Size: 0}),
			unix.EOPNOTSUPP: do(btrfs.SetMode, btrfs.Fields{btrfs.Path: "data/victim", btrfs.Mode: 0o777}),
			unix.EPERM:      do(btrfs.SetAttribute, btrfs.Fields{btrfs.Path: "data/victim", btrfs.AttributeName: "user.a", btrfs.AttributeValue: ""}),
			unix.ENODATA:    do(btrfs.RemoveAttribute, btrfs.Fields{btrfs.Path: "data/victim", btrfs.AttributeName: "trusted.theirs"}),
		} {
			s.refused(t, fmt.Sprintf("command %d %v", way.verb, way.fields), made(append(valid, way)...), want)
		}
	})
	t.Run("ByAStrangePath", func(t *testing.T) { s.strangePaths(t) })
	t.Run("NorBeMalformed", func(t *testing.T) { s.malformed(t) })
}

// data are the ways to reach an object's data.
func (s *stage) data(name string) []step {
	return []step{
		do(btrfs.Write, btrfs.Fields{btrfs.Path: name, btrfs.Offset: 0, btrfs.Data: "overwritten"}),
		do(btrfs.Clone, btrfs.Fields{
			btrfs.Path: name, btrfs.Offset: 0, btrfs.CloneUUID: s.content[:], btrfs.ClonePath: "data/f", btrfs.CloneOffset: 0, btrfs.CloneLength: 4096,
		}),
		do(btrfs.Clone, btrfs.Fields{
			btrfs.Path: "data/shared", btrfs.Offset: 0, btrfs.CloneUUID: s.content[:], btrfs.ClonePath: name, btrfs.CloneOffset: 0, btrfs.CloneLength: 4096,
		}),
	}
}

// ways are all the commands on a file, an empty folder and a name that is free.
func (s *stage) ways(file, empty, free string) []step {
	return append(s.data(file),
		do(btrfs.MakeFile, btrfs.Fields{btrfs.Path: free}),
		do(btrfs.MakeDir, btrfs.Fields{btrfs.Path: free}),
		do(btrfs.MakeFifo, btrfs.Fields{btrfs.Path: free}),
		do(btrfs.MakeSocket, btrfs.Fields{btrfs.Path: free}),
		do(btrfs.MakeNode, btrfs.Fields{btrfs.Path: free, btrfs.Mode: unix.S_IFCHR, btrfs.Device: 0}),
		do(btrfs.Symlink, btrfs.Fields{btrfs.Path: free, btrfs.PathLink: "x"}),
		do(btrfs.Rename, btrfs.Fields{btrfs.Path: "data/f", btrfs.PathTo: file}),
		do(btrfs.Rename, btrfs.Fields{btrfs.Path: file, btrfs.PathTo: "data/taken"}),
		do(btrfs.Link, btrfs.Fields{btrfs.Path: "data/taken", btrfs.PathLink: file}),
		do(btrfs.Link, btrfs.Fields{btrfs.Path: free, btrfs.PathLink: "data/f"}),
		do(btrfs.Unlink, btrfs.Fields{btrfs.Path: file}),
		do(btrfs.RemoveDir, btrfs.Fields{btrfs.Path: empty}),
		do(btrfs.SetAttribute, btrfs.Fields{btrfs.Path: file, btrfs.AttributeName: "user.theirs", btrfs.AttributeValue: "2"}),
		do(btrfs.RemoveAttribute, btrfs.Fields{btrfs.Path: file, btrfs.AttributeName: "user.theirs"}),
		do(btrfs.Truncate, btrfs.Fields{btrfs.Path: file, btrfs.Size: 0}),
		do(btrfs.SetMode, btrfs.Fields{btrfs.Path: file, btrfs.Mode: 0o777}),
		do(btrfs.SetOwner, btrfs.Fields{btrfs.Path: file, btrfs.User: 1, btrfs.Group: 1}),
		do(btrfs.SetTimes, btrfs.Fields{btrfs.Path: file, btrfs.Accessed: [2]int{}, btrfs.Modified: [2]int{}}),
	)
}

// with is the command with another value of a field.
func (s step) with(f btrfs.Field, value any) step {
	other := s.without(f)
	other.fields[f] = value
	return other
}

func (s step) without(f btrfs.Field) step {
	fields := maps.Clone(s.fields)
	delete(fields, f)
	return step{s.verb, fields}
}

// instead is a stream one of whose steps is another.
func instead(steps []step, at int, other step) btrfs.Made {
	changed := slices.Clone(steps)
	changed[at] = other
	return made(changed...)
}
