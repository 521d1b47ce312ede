// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/flocker-project/flocker/cluster"
)

// Name is the snapshot's name; names sort as lineages do.
func (l Lineage) Name() string { return fmt.Sprintf("e%010d-s%010d", l.Epoch, l.Serial) }

var lineageForm = regexp.MustCompile(`^e([0-9]{10,20})-s([0-9]{10,20})$`)

// ParseLineage reads a snapshot's name.
func ParseLineage(name string) (Lineage, error) {
	match := lineageForm.FindStringSubmatch(name)
	if match == nil {
		return Lineage{}, fmt.Errorf("%q is not a snapshot's name", name)
	}
	epoch, err := strconv.ParseUint(match[1], 10, 64)
	if err != nil {
		return Lineage{}, fmt.Errorf("snapshot name %q: %w", name, err)
	}
	serial, err := strconv.ParseUint(match[2], 10, 64)
	if err != nil {
		return Lineage{}, fmt.Errorf("snapshot name %q: %w", name, err)
	}
	lineage := Lineage{Epoch: cluster.Epoch(epoch), Serial: serial}
	if lineage.Name() != name {
		return Lineage{}, fmt.Errorf("%q is not a snapshot's name", name)
	}
	return lineage, nil
}

// SortSnapshots puts the oldest first.
func SortSnapshots(snapshots []cluster.Snapshot) {
	slices.SortFunc(snapshots, func(a, b cluster.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Serial, b.Serial))
	})
}
