// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// unseen says which back ends could not be looked at, and why; nil where all were.
func unseen(o cluster.Observed) error {
	var errs []error
	say := func(s cluster.Storage) {
		if s.Error != "" {
			errs = append(errs, fmt.Errorf("back end %s: %s", s.Backend, s.Error))
		}
	}
	say(o.Storage)
	for _, name := range slices.Sorted(maps.Keys(o.Further)) {
		say(o.Further[name])
	}
	return errors.Join(errs...)
}

// recall says of back ends that this process has not seen yet what a former one told of them besides what is in them: a fail-over from
// this node needs to know what kind of storage it had.
func recall(o *cluster.Observed, told cluster.Observed) {
	recalled := func(s cluster.Storage) cluster.Storage {
		was := told.Back(s.Backend)
		if s.Error == "" || s.Capabilities != (cluster.Capabilities{}) || was.Backend != s.Backend || was.Driver() != s.Driver() {
			return s
		}
		was.Error = s.Error
		return was
	}
	o.Storage, o.Further = recalled(o.Storage), maps.Clone(o.Further)
	for name, s := range o.Further {
		o.Further[name] = recalled(s)
	}
}
