// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// A node looks at its storage when it is asked to, also where that has failed since it last reported.
func TestANodeSaysWhatItsStorageLacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	first, other := w.nodes[0], w.nodes[1]
	look := func() api.StorageReport {
		t.Helper()
		report, err := w.user.NodeStorage(t.Context(), "node1")
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	good := look()
	if diff := cmp.Diff([]api.Check{{Name: "store", OK: true, Node: "node1"}}, good.Checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if s := good.Storage; s.Backend != "mem" || s.Error != "" || s.Total != diskSize || !s.Capabilities.Replicates {
		t.Errorf("storage = %+v; want what the disk says", s)
	}
	first.broken.Store(true)
	if bad := look(); bad.Checks[0].OK || !strings.Contains(bad.Storage.Error, errBroken.Error()) {
		t.Errorf("report of a broken disk = %+v; want the reason", bad)
	}
	first.broken.Store(false)
	if again := look(); !again.Checks[0].OK || again.Storage.Error != "" {
		t.Errorf("report of a disk that was mended = %+v; want nothing wrong", again)
	}

	if _, err := w.user.NodeStorage(t.Context(), "node9"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("storage of a node that there is not: %v; want %v", err, cluster.ErrNotFound)
	}
	peers := api.NewPeerClient(func(id cluster.NodeID) *tls.Config { return pki.ClientTLS(other.creds, pki.ExpectNode(id)) })
	defer peers.Close()
	if _, err := peers.Storage(t.Context(), cluster.Node{ID: first.id, AgentAddress: first.link.address()}); !errors.Is(err, cluster.ErrForbidden) {
		t.Errorf("storage, asked for by another node: %v; want %v", err, cluster.ErrForbidden)
	}

	first.current().kill()
	w.until("the node is not alive", func() bool {
		_, err := w.user.NodeStorage(t.Context(), "node1")
		return errors.Is(err, cluster.ErrUnavailable) && strings.Contains(err.Error(), "not alive")
	})
}
