// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

func TestTheIPv6SubnetIsFixedAtTheFirstStart(t *testing.T) {
	t.Parallel()
	own := cluster.OwnSubnet6("cluster").String() // by the ID that the test's store has
	for _, c := range []struct{ asked, want, refused string }{
		{"", own, "none"},
		{"auto", own, "fd00:7::/64"},
		{"none", "", own},
		{"fd00:7::/64", "fd00:7::/64", own},
	} {
		service := control.NewService(emptyStore(t), nil, "test", quiet())
		for _, asked := range []string{c.asked, "", "auto", firstWord(c.want, "none")} {
			if err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet6: asked}); err != nil {
				t.Errorf("made with %q, a start with %q: %v", c.asked, asked, err)
			}
		}
		status, err := service.Status(t.Context())
		if err != nil || status.Fabric != (cluster.Fabric{Subnet: cluster.DefaultSubnet, Subnet6: c.want}) {
			t.Errorf("made with %q the status shows %+v, %v", c.asked, status.Fabric, err)
		}
		err = service.EnsureFabric(t.Context(), cluster.Fabric{Subnet6: c.refused})
		if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), firstWord(c.want, "none")) {
			t.Errorf("made with %q, a start with %q: %v", c.asked, c.refused, err)
		}
		wantError(t, service.EnsureFabric(t.Context(), cluster.Fabric{Subnet6: "fd00::/48"}), cluster.ErrInvalid)
	}
}

func firstWord(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

func TestAClusterThatWasMadeWithoutIPv6StaysWithout(t *testing.T) {
	t.Parallel()
	s := emptyStore(t)
	write(t, s, func(tx *store.Tx) error {
		return store.Put(tx, store.FabricKey, cluster.Fabric{Subnet: cluster.DefaultSubnet})
	})
	service := control.NewService(s, nil, "test", quiet())
	for _, asked := range []string{"", "auto", "none"} {
		if err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet6: asked}); err != nil {
			t.Errorf("a start with %q: %v", asked, err)
		}
	}
	if status, err := service.Status(t.Context()); err != nil || status.Fabric.Subnet6 != "" {
		t.Errorf("it has %+v, %v", status.Fabric, err)
	}
}

func TestIPv6AddressesAreShown(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.deploy("db", "a")
	subnet := cluster.OwnSubnet6("cluster")
	status, err := s.service.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{status.Nodes[0].ClusterAddress6, status.Applications[0].Address6} {
		if !strings.HasPrefix(address, strings.TrimSuffix(subnet.String(), "/64")) {
			t.Errorf("%q is none of %s", address, subnet)
		}
	}
	if got := status.Applications[0].Address6; !strings.HasSuffix(got, "::a90:3") || status.Applications[0].Address != "10.144.0.3" {
		t.Errorf("application at %s has %s", status.Applications[0].Address, got)
	}
	write(t, s.store, func(tx *store.Tx) error {
		return store.Put(tx, store.FabricKey, cluster.Fabric{Subnet: cluster.DefaultSubnet})
	})
	info, err := s.service.GetApplication(t.Context(), "db")
	if err != nil || info.Address6 != "" {
		t.Errorf("in a cluster without IPv6 it has %q, %v", info.Address6, err)
	}
}
