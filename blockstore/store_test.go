// SPDX-License-Identifier: Apache-2.0

package blockstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/blockstore"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
)

func port(e client.Export) string { return strconv.Itoa(e.Port) }

func TestVolumesOutliveTheProcess(t *testing.T) {
	w := &world{t: t, dir: t.TempDir(), authority: authority(t)}
	store := w.open()
	wanted := spec()
	v, err := store.Create(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blockstore.Open(t.Context(), w.config()); err == nil {
		t.Error("a second process opened the folder")
	}
	// What a crash may leave: a volume half made, one half removed, a record half written.
	for _, left := range []string{".new-vol-x", ".old-vol-y", ".old-backups"} { // the last is somebody else's
		if err := os.Mkdir(filepath.Join(w.dir, left), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(w.dir, v.ID, "record.json.new"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "notes"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = w.open()
	defer store.Close()
	if list := store.List(); len(list) != 1 || !reflect.DeepEqual(list[0], v) {
		t.Errorf("List = %+v; want %+v", list, v)
	}
	if again, err := store.Create(wanted); err != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("Create again = %+v, %v; want %+v", again, err, v)
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 4 {
		t.Errorf("the folder has %v, %v; want the volume, the lock, the notes and somebody else's folder", entries, err)
	}
	if err := store.Destroy(v.ID); err != nil {
		t.Error(err)
	}
	if list := store.List(); len(list) != 0 {
		t.Errorf("List after Destroy = %+v", list)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := &world{t: t, dir: t.TempDir(), authority: authority(t)}
	store := w.open()
	defer store.Close()
	v, err := store.Create(spec())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec client.Spec
		want error
	}{
		{client.Spec{Dataset: v.Dataset, Size: v.Size + 1}, backend.ErrExists},
		{client.Spec{Dataset: "../../etc", Size: 1}, cluster.ErrInvalid},
		{client.Spec{Dataset: spec().Dataset, Size: -1}, cluster.ErrInvalid},
		{client.Spec{Dataset: spec().Dataset, Size: 1 << 62}, backend.ErrNoSpace},
	} {
		if _, err := store.Create(c.spec); !errors.Is(err, c.want) {
			t.Errorf("Create(%+v) = %v; want %v", c.spec, err, c.want)
		}
	}
	if list := store.List(); len(list) != 1 {
		t.Errorf("List = %+v; want one volume", list)
	}
}

func TestFolderOfAnotherClusterIsRefused(t *testing.T) {
	w := &world{t: t, dir: t.TempDir(), authority: authority(t)}
	store := w.open()
	if _, err := store.Create(spec()); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	other := w.config()
	other.Cluster = "another"
	if _, err := blockstore.Open(t.Context(), other); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("Open = %v; want %v", err, cluster.ErrInvalid)
	}
}
