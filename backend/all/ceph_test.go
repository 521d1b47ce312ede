// SPDX-License-Identifier: Apache-2.0

package all_test

import (
	"errors"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestCephPoolRefusesOptions(t *testing.T) {
	for _, options := range []string{"{}", "pool: a/b", "pool: a@b", "pool: -a", "{pool: a, user: 'a b'}"} {
		if _, err := open(t, "rbd", options); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Open(rbd, %s) = %v; want %v", options, err, cluster.ErrInvalid)
		}
	}
	if _, err := open(t, "rbd", "{pool: a, image: b}"); err == nil {
		t.Error("Open(rbd) with an unknown option = nil; want an error")
	}
}
