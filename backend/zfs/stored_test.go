// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// needsProperty skips where no filesystem can have a property.
func needsProperty(t *testing.T, property string) {
	t.Helper()
	needsZFS(t)
	// Without its operands the command lists all properties there are.
	_, said := run.Command(t.Context(), "zfs", "get").Output()
	if !strings.Contains(said.Error(), "\t"+property+" ") {
		t.Skipf("this ZFS has no property %s", property)
	}
}

// newEncrypted is a pool in which everything is encrypted, and the file with its key.
func newEncrypted(t *testing.T) (h *harness, key string) {
	t.Helper()
	key = filepath.Join(t.TempDir(), "key")
	mustAll(t, os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600))
	return newPoolWith(t, 256<<20, "-O", "encryption=on", "-O", "keyformat=raw", "-O", "keylocation=file://"+key), key
}

const secret = "these words are to be read by nobody on the way"

// TestAnEncryptedDatasetIsSentRaw goes to a node without the key and back, as moves do, with a clone and a roll-back on either.
func TestAnEncryptedDatasetIsSentRaw(t *testing.T) {
	needsProperty(t, "encryption")
	a, key := newEncrypted(t)
	b := newPool(t, 256<<20)
	mustAll(t,
		a.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		a.driver.Mount(t.Context(), dataset, a.Path(dataset)),
		a.Write(dataset, "first", []byte(secret)))
	one := a.snapshot(t, dataset, 1, 1)
	var stream bytes.Buffer
	mustAll(t, a.driver.Send(t.Context(), dataset, one.Name, "", &stream))
	if bytes.Contains(stream.Bytes(), []byte(secret)) {
		t.Error("the stream has what is encrypted in clear")
	}
	ship(t, a, b, dataset, one, "")
	mustAll(t, a.Write(dataset, "second", []byte(secret)), a.driver.Unmount(t.Context(), dataset))
	two := a.snapshot(t, dataset, 1, 2)
	mustAll(t, a.driver.Released(t.Context(), dataset, two.Name))
	ship(t, a, b, dataset, two, one.Name)
	line := b.lineOf(t, two)
	if got := strings.Fields(command(t, "zfs", "get", "-H", "-o", "value", "keystatus", line)); got[0] != "unavailable" {
		t.Errorf("the key of what was received is %s", got[0])
	}
	mustAll(t, b.driver.Clone(t.Context(), dataset, two.Name, backend.Spec{Dataset: dataset, Epoch: 2}, ""))
	if err := b.driver.Mount(t.Context(), dataset, b.Path(dataset)); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("Mount without a key = %v; want an error that says so", err)
	}
	b.load(t, key)
	b.has(t, dataset, "first", "second")
	mustAll(t, b.driver.Mount(t.Context(), dataset, b.Path(dataset)), b.Write(dataset, "third", []byte(secret)), b.driver.Unmount(t.Context(), dataset))
	three := b.snapshot(t, dataset, 2, 1)
	mustAll(t, a.driver.DropHead(t.Context(), dataset))
	ship(t, b, a, dataset, three, two.Name)
	mustAll(t, a.driver.Clone(t.Context(), dataset, three.Name, backend.Spec{Dataset: dataset, Epoch: 3}, ""))
	a.has(t, dataset, "first", "second", "third")
	for _, h := range []*harness{a, b} {
		mustAll(t, h.driver.Revert(t.Context(), dataset, one.Name))
		h.load(t, key) // ZFS forgets it where what came raw is promoted
		h.has(t, dataset, "first")
		clone := cluster.DatasetID(uuid.NewString())
		mustAll(t, h.driver.Clone(t.Context(), dataset, two.Name, backend.Spec{Dataset: clone, Epoch: 1}, ""))
		h.has(t, clone, "first", "second")
		h.Reopen(t)
		mustAll(t, h.driver.Destroy(t.Context(), dataset))
		h.load(t, key)
		h.has(t, clone, "first", "second")
		mustAll(t, h.driver.Destroy(t.Context(), clone))
		h.left(t)
	}
}

// load loads the key wherever it is not.
func (h *harness) load(t *testing.T, key string) {
	t.Helper()
	table := command(t, "zfs", "get", "-Hr", "-t", "filesystem", "-o", "name,value", "keystatus", h.config.Pool)
	for text := range strings.Lines(table) {
		if name, status, _ := strings.Cut(strings.TrimSpace(text), "\t"); status == "unavailable" {
			root := strings.TrimSpace(command(t, "zfs", "get", "-H", "-o", "value", "encryptionroot", name))
			if root == name {
				command(t, "zfs", "load-key", "-L", "file://"+key, name)
			}
		}
	}
}

// has wants just these files in a head that is not mounted, with the secret in each.
func (h *harness) has(t *testing.T, id cluster.DatasetID, names ...string) {
	t.Helper()
	mustAll(t, h.driver.Mount(t.Context(), id, h.Path(id)))
	files, err := h.Files(id)
	mustAll(t, err, h.driver.Unmount(t.Context(), id))
	if len(files) != len(names) {
		t.Errorf("files of %s = %d; want %v", id, len(files), names)
	}
	for _, name := range names {
		if string(files[name]) != secret {
			t.Errorf("%s of %s = %q", name, id, files[name])
		}
	}
}

// TestBlocksAreSentAsTheyAreStored: what is compressed on one node is not made large for the way to another.
func TestBlocksAreSentAsTheyAreStored(t *testing.T) {
	needsZFS(t)
	_, said := run.Command(t.Context(), "zfs", "send").Output()
	if !strings.Contains(said.Error(), "Lec") && !strings.Contains(said.Error(), "Pbce") {
		t.Skipf("this ZFS sends nothing compressed: %v", said)
	}
	a, b := newPoolWith(t, 256<<20, "-O", "compression=lz4"), newPool(t, 256<<20)
	const size = 16 << 20
	mustAll(t,
		a.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		a.driver.Mount(t.Context(), dataset, a.Path(dataset)),
		a.Write(dataset, "file", bytes.Repeat([]byte("the same words "), size/15)))
	s := a.snapshot(t, dataset, 1, 1)
	var stream bytes.Buffer
	mustAll(t, a.driver.Send(t.Context(), dataset, s.Name, "", &stream))
	if stream.Len() > size/4 {
		t.Errorf("%d bytes were sent of %d that are stored compressed", stream.Len(), size)
	}
	ship(t, a, b, dataset, s, "")
	if used, err := b.driver.List(t.Context()); err != nil || len(used) != 1 {
		t.Errorf("List = %+v, %v", used, err)
	}
	if got := strings.TrimSpace(command(t, "zfs", "get", "-Hp", "-o", "value", "referenced", b.lineOf(t, s))); len(got) > 7 {
		t.Errorf("%s bytes are stored of what came compressed", got)
	}
}
