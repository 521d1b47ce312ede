// SPDX-License-Identifier: Apache-2.0

package all_test

import (
	"errors"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestBlockStoreRefusesOptions(t *testing.T) {
	for _, options := range []string{
		"{}", "store: host1", "{store: host1, reconnect: soon}", "{store: host1, reconnect: 10ms}", "{store: host1, certificates: /nowhere}",
	} {
		if _, err := open(t, "nbd", options); err == nil {
			t.Errorf("Open(nbd, %s) = nil; want an error", options)
		}
	}
	if _, err := open(t, "nbd", "{}"); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("Open(nbd) without a store = %v; want %v", err, cluster.ErrInvalid)
	}
}
