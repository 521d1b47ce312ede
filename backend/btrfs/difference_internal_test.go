// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

// ReadHere says whether the data of a difference is read from the snapshot and not sent by the kernel.
func (d *Driver) ReadHere(ctx context.Context, id cluster.DatasetID, snapshot, base string) (bool, error) {
	info, err := d.readOnly(id, base)
	if err != nil {
		return false, err
	}
	o, err := d.outlineOf(ctx, d.snapshot(id, snapshot), info.treeID)
	return o != nil, err
}

func TestAPathThatMeansSomethingElseLaterIsNotRead(t *testing.T) {
	updated := func(m Made, path string) Made {
		return m.Then(verbUpdated, Fields{Path: path, Offset: 0, Size: 4096})
	}
	for name, c := range map[string]struct {
		stream Made
		want   bool
	}{
		"named before": {updated(NewMade(1).Then(MakeFile, Fields{Path: "o1"}).Then(Rename, Fields{Path: "o1", PathTo: "f"}), "f"), true},
		"others renamed later": {
			updated(NewMade(1), "a/f").Then(Rename, Fields{Path: "b", PathTo: "c"}).Then(Unlink, Fields{Path: "a/g"}).Then(Rename, Fields{Path: "af", PathTo: "ag"}), true,
		},
		"itself renamed later":        {updated(NewMade(1), "f").Then(Rename, Fields{Path: "f", PathTo: "g"}), false},
		"its folder renamed later":    {updated(NewMade(1), "a/b/f").Then(Rename, Fields{Path: "a", PathTo: "c"}), false},
		"another gets its name later": {updated(NewMade(1), "f").Then(Rename, Fields{Path: "g", PathTo: "f"}), false},
		"another folder is made as its": {
			updated(NewMade(1), "a/f").Then(MakeDir, Fields{Path: "a"}), false,
		},
		"removed later":       {updated(NewMade(1), "f").Then(Unlink, Fields{Path: "f"}), false},
		"a link is its later": {updated(NewMade(1), "f").Then(Link, Fields{Path: "f", PathLink: "g"}), false},
		"one of many":         {updated(updated(NewMade(1), "f"), "g").Then(RemoveDir, Fields{Path: "f"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseOutline(c.stream.Then(End, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := o.telling(); got != c.want {
				t.Errorf("telling() = %v; want %v", got, c.want)
			}
		})
	}
}

func TestAnOutlineThatIsDamagedIsRefused(t *testing.T) {
	whole := NewMade(1).Then(verbUpdated, Fields{Path: "f", Offset: 0, Size: 4096}).Then(End, nil)
	for n := range whole {
		if _, err := parseOutline(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken", n, len(whole))
		}
	}
	for name, fields := range map[string]Fields{
		"no path": {Path: "", Offset: 0, Size: 1}, "a path out": {Path: "../f", Offset: 0, Size: 1},
		"nothing": {Path: "f", Offset: 0, Size: 0}, "less than nothing": {Path: "f", Offset: 0, Size: -1}, "before the file": {Path: "f", Offset: -1, Size: 1},
	} {
		if _, err := parseOutline(NewMade(1).Then(verbUpdated, fields).Then(End, nil)); err == nil {
			t.Errorf("an extent with %s is taken", name)
		}
	}
}
