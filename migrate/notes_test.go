// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

func TestNotesOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	notes, err := migrate.OpenNotes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := notes.Write(moving, 3); err != nil {
		t.Fatal(err)
	}
	again, err := migrate.OpenNotes(dir)
	if err != nil {
		t.Fatal(err)
	}
	noted, err := again.List()
	if diff := cmp.Diff(map[cluster.MoveID]int{moving: 3}, noted); diff != "" || err != nil {
		t.Fatalf("%v %s", err, diff)
	}
	for range 2 {
		if err := again.Remove(moving); err != nil {
			t.Fatal(err)
		}
	}
	if noted, err := again.List(); len(noted) > 0 || err != nil {
		t.Errorf("left: %v %v", noted, err)
	}
}

// A note that cannot be read might mean a hand-over that was sent.
func TestNoteThatCannotBeReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	notes, err := migrate.OpenNotes(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, string(moving)+".handover"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if noted, err := notes.List(); err == nil {
		t.Errorf("an empty note reads as %v", noted)
	}
}

func TestNoteOfAPathTrickIsRefused(t *testing.T) {
	notes, err := migrate.OpenNotes(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []cluster.MoveID{"", "../x", "a/b", ".", "a\x00b"} {
		if notes.Write(id, 1) == nil {
			t.Errorf("%q was accepted", id)
		}
	}
}
