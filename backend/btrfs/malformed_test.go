// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend/btrfs"
)

// strangePaths puts paths that no kernel sends into each field that is one.
func (s *stage) strangePaths(t *testing.T) {
	t.Helper()
	strange := []string{
		"/etc/passwd", s.outside + "/new", "..", ".", "../new", "data/../../new", "data/..", "data//new", "data/new/", "/", "data/./new",
		"data/nul\x00", "data/" + strings.Repeat("long/", 1000) + "new",
	}
	steps := s.valid()
	for at, step := range steps {
		for f := range step.fields {
			isPath := f == btrfs.Path || f == btrfs.PathTo || f == btrfs.ClonePath || f == btrfs.PathLink && step.verb == btrfs.Link
			for i, path := range strange {
				// One of each for the same kind of command is enough in a hurry.
				if isPath && (!testing.Short() || i == at%len(strange)) {
					s.refused(t, fmt.Sprintf("command %d with path %q", step.verb, path), instead(steps, at, step.with(f, path)), btrfs.ErrStream)
				}
			}
		}
	}
}

// malformed leaves out each field, and gives those of a fixed length another.
func (s *stage) malformed(t *testing.T) {
	t.Helper()
	steps := s.valid()
	for at, step := range steps {
		for f, value := range step.fields {
			s.refused(t, fmt.Sprintf("command %d without field %d", step.verb, f), instead(steps, at, step.without(f)), btrfs.ErrStream)
			if _, text := value.(string); text || testing.Short() && at > 1 {
				continue
			}
			raw := btrfs.Encoded(value)
			for _, other := range [][]byte{raw[:len(raw)-1], append(raw, 0), {}} {
				what := fmt.Sprintf("command %d with %d bytes of field %d", step.verb, len(other), f)
				s.refused(t, what, instead(steps, at, step.with(f, other)), btrfs.ErrStream)
			}
		}
	}
	end := btrfs.Made(nil).Then(btrfs.End, nil)
	begun := btrfs.Made(bytes.TrimSuffix(made(steps...), end))
	unknown := uuid.New()
	clone := do(btrfs.Clone, btrfs.Fields{
		btrfs.Path: "data/shared", btrfs.Offset: 0, btrfs.CloneUUID: unknown[:], btrfs.ClonePath: "data/f", btrfs.CloneOffset: 0, btrfs.CloneLength: 4096,
	})
	path := []byte{byte(btrfs.Path), 0, 1, 0, 'x'}
	for what, stream := range map[string]btrfs.Made{
		"another kind":                append([]byte("btrfs-stream!"), begun[13:]...),
		"version 0":                   append(btrfs.NewMade(0), begun[17:]...),
		"version 2":                   append(btrfs.NewMade(2), begun[17:]...),
		"no snapshot":                 made(steps[1:]...),
		"only an end":                 made(),
		"another name":                instead(steps, 0, steps[0].with(btrfs.Path, "e0000000001-s0000000009")),
		"another content":             instead(steps, 0, steps[0].with(btrfs.UUID, unknown[:])),
		"a second snapshot":           begun.Then(steps[0].verb, steps[0].fields),
		"a second difference":         begun.Then(btrfs.Snapshot, clone.with(btrfs.UUID, s.content[:]).fields),
		"blocks of another snapshot":  begun.Then(clone.verb, clone.fields),
		"blocks beyond the end":       begun.Then(clone.verb, clone.with(btrfs.CloneUUID, s.content[:]).with(btrfs.CloneOffset, 1<<20).fields),
		"command 0":                   begun.Raw(0, path),
		"command 22":                  begun.Raw(22, path),
		"command 999":                 begun.Raw(999, path),
		"field 0":                     begun.Raw(btrfs.MakeDir, append(path, 0, 0, 0, 0)),
		"field 25":                    begun.Raw(btrfs.MakeDir, append(path, 25, 0, 0, 0)),
		"a field beyond the command":  begun.Raw(btrfs.MakeDir, []byte{byte(btrfs.Path), 0, 2, 0, 'x'}),
		"half a field's head":         begun.Raw(btrfs.MakeDir, append(path, 1, 0)),
		"a command that is too large": begun.Raw(btrfs.Write, make([]byte, 200<<10)),
		"a size that is too large":    append(bytes.Clone(begun), 0xff, 0xff, 0xff, 0xff, 15, 0, 0, 0, 0, 0),
		"of another dataset":          instead(steps, 1, steps[1].with(btrfs.AttributeValue, uuid.NewString())),
		"of no dataset":               made(steps[0]),
	} {
		s.refused(t, what, append(bytes.TrimSuffix(stream, end), end...), btrfs.ErrStream)
	}
	for what, way := range map[string]step{
		"a negative place": do(btrfs.Write, btrfs.Fields{btrfs.Path: "data/f", btrfs.Offset: -1, btrfs.Data: "x"}),
		"a negative size":  do(btrfs.Truncate, btrfs.Fields{btrfs.Path: "data/f", btrfs.Size: -1}),
		"a strange time":   do(btrfs.SetTimes, btrfs.Fields{btrfs.Path: "data/f", btrfs.Accessed: [2]int{0, 2e9}, btrfs.Modified: [2]int{}}),
		"the root's name":  do(btrfs.RemoveDir, btrfs.Fields{btrfs.Path: ""}),
	} {
		s.refused(t, what, begun.Then(way.verb, way.fields).Then(btrfs.End, nil), unix.EINVAL)
	}
}
