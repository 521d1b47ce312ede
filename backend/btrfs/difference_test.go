// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestADatabasesChangesAreReadHere changes pages all over a file, more than are read ahead at once, and many small files.
func TestADatabasesChangesAreReadHere(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	id := fresh(t, a, b)
	random := rand.New(rand.NewPCG(1, 2))
	write := func(name string, below int64, count int, size int64) {
		err := with(filepath.Join(a.data(id), name), os.O_RDWR|os.O_CREATE, func(file *os.File) error {
			data := make([]byte, size)
			for range count {
				for i := range data {
					data[i] = byte(random.Uint32())
				}
				if _, err := file.WriteAt(data, random.Int64N(below-size)); err != nil {
					return err
				}
			}
			return file.Sync()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("large", 40<<20, 40, 1<<20)
	base := a.snapshot(t, id, 1)
	b.takes(t, id, base, "", a.stream(t, id, base, ""))
	write("large", 40<<20, 600, 8<<10)
	write("large", 40<<20, 20, 300<<10)
	for i := range 400 {
		write(fmt.Sprint("small", i), 20<<10, 1, 1+random.Int64N(9000))
	}
	last := a.snapshot(t, id, 2)
	if here, err := a.driver.ReadHere(t.Context(), id, last.Name, base.Name); err != nil || !here {
		t.Errorf("the data is read here: %v, %v; want true", here, err)
	}
	want := tree(t, a.inPool("datasets", string(id), last.Name))
	equal(t, "difference", want, tree(t, b.takes(t, id, last, base.Name, a.stream(t, id, last, base.Name))))
}
