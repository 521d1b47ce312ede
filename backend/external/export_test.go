// SPDX-License-Identifier: Apache-2.0

package external

import (
	"maps"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// CodeNames are the codes of failures.
func CodeNames() []string { return slices.Sorted(maps.Keys(codes())) }

// Understand reads an answer as every call does that has one, and returns all that it would hand on.
func Understand(status int, body []byte) (volumes []backend.Volume, devices []string, err error) {
	if status != 200 {
		return nil, nil, failure(status, body)
	}
	var list volumesAnswer
	if decode(body, &list) == nil {
		if volumes, err = list.check(); err == nil {
			return volumes, nil, nil
		}
	}
	var one volumeAnswer
	if decode(body, &one) == nil {
		v, err := one.check(backend.Spec{Dataset: cluster.DatasetID("0b1c2d3e-0000-4000-8000-000000000001"), Size: 4096})
		if err == nil {
			return []backend.Volume{v}, nil, nil
		}
	}
	var device deviceAnswer
	if decode(body, &device) == nil {
		if path, err := device.check(); err == nil {
			return nil, []string{path}, nil
		}
	}
	var all devicesAnswer
	if err := decode(body, &all); err != nil {
		return nil, nil, err
	}
	of, err := all.check()
	return nil, slices.Collect(maps.Values(of)), err
}
