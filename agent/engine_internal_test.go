// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net/netip"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/container/mem"
)

// kept notes for which addresses connections were kept.
type kept []netip.Addr

func (k *kept) Keep(_ context.Context, addr netip.Addr, do func() error) error {
	*k = append(*k, addr)
	return do()
}

// The runtime forgets connections to an application's address when a container with it comes or goes.
func TestConnectionsAreKeptWhileContainersComeAndGo(t *testing.T) {
	address := netip.MustParseAddr("10.144.0.9")
	app := cluster.Application{Name: "db", Address: address.String()}
	desired, k := newMirror("n"), &kept{}
	desired.desired.Applications["db"] = app
	e := engine{mem.New(mem.Config{}), newLives(), k, desired}
	if _, err := e.Create(t.Context(), container.Spec{Application: app, Address: address}); err == nil {
		t.Error("Create() of a node that has not joined = nil; want the runtime's own error")
	}
	for _, name := range []string{"db", "removed"} { // the address of one that is not to be any more is nobody's
		if err := e.Remove(t.Context(), name); err != nil {
			t.Errorf("Remove() of %s = %v", name, err)
		}
	}
	if len(*k) != 2 || (*k)[0] != address || (*k)[1] != address {
		t.Errorf("kept for %v; want %v twice", *k, address)
	}
}
