// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"fmt"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// The figures were seen with OpenZFS 2.1.11: what a mount, a clone and a rollback rewrite, and the least that a write does.
func TestWhatZFSItselfRewritesIsNoWrite(t *testing.T) {
	for name, c := range map[string]struct {
		empty, itself, write int64
		encrypted            bool
	}{
		"sectors of 512":                              {24576, 1024, 12288, false},
		"sectors of 4096":                             {98304, 8192, 57344, false},
		"sectors of 512, encrypted":                   {100352, 8192, 51200, true},
		"sectors of 4096, encrypted":                  {196608, 8192, 81920, true},
		"sectors of 512, encrypted, came from others": {24576, 8192, 51200, true},
	} {
		d := &Driver{can: abilities{written: "written"}}
		tree := &tree{lines: lines{{written: c.itself, encrypted: c.encrypted}, {written: c.write, encrypted: c.encrypted}}}
		if err := d.forgive(tree, values{"referenced": fmt.Sprint(c.empty)}); err != nil || tree.lines[0].written != 0 || tree.lines[1].written != c.write {
			t.Errorf("%s: %v; written by ZFS itself %d, by others %d; want 0 and %d", name, err, tree.lines[0].written, tree.lines[1].written, c.write)
		}
	}
	old := &tree{lines: lines{{written: 512}}}
	if err := (&Driver{can: abilities{written: "unique"}}).forgive(old, nil); err != nil || old.lines[0].written != 512 {
		t.Errorf("an old version: %v, %d; want what it says", err, old.lines[0].written)
	}
}

func TestWhatIsHalfReceivedIsKnownByItsNameAndToken(t *testing.T) {
	const id = cluster.DatasetID("5e4f7f7c-0000-4000-8000-000000000001")
	d := &Driver{parent: "tank/flocker"}
	name := d.partialName(id, cluster.Snapshot{Name: "e0000000001-s0000000002", ID: "00000000000000ab"})
	token := "1-f1d2b9f2c-c8-789c636064000310a500c4ec50360710e72765a526973030"
	p, ok := d.partialOf(name, values{"creation": "1700000000", tokenProperty: token})
	if !ok || p.dataset != id || p.Snapshot != "e0000000001-s0000000002" || p.ID != "00000000000000ab" || p.Token != token || !p.created.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("partialOf = %+v, %v", p, ok)
	}
	for _, other := range []struct{ name, token string }{
		{name, "-"}, {name, ""}, {name, "-t"}, {d.incoming() + "/ABCDEF", token}, {d.incoming() + "/x.y.z", token},
	} {
		if _, ok := d.partialOf(other.name, values{"creation": "1", tokenProperty: other.token}); ok {
			t.Errorf("%q with token %q is taken for a partial", other.name, other.token)
		}
	}
}
