// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// withSubnet is a store with a cluster network.
func withSubnet(t *testing.T, subnet string) *store.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() { closed(t, s) })
	change(t, s, func(tx *store.Tx) error { return store.Put(tx, store.FabricKey, cluster.Fabric{Subnet: subnet}) })
	return s
}

func change(t *testing.T, s *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if _, err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// take gives n addresses in one transaction.
func take(t *testing.T, s *store.Store, from, n int) (given []string, err error) {
	t.Helper()
	_, err = s.Update(t.Context(), func(tx *store.Tx) error {
		given = nil
		free, err := store.NewAllocator(t.Context(), tx)
		if err != nil {
			return err
		}
		for i := range n {
			addr, err := free.Take(t.Context(), store.ApplicationHolder(fmt.Sprint("app-", from+i)))
			if err != nil {
				return err
			}
			given = append(given, addr)
		}
		return nil
	})
	return given, err
}

func release(t *testing.T, s *store.Store, addr string, h store.Holder) {
	t.Helper()
	change(t, s, func(tx *store.Tx) error { return store.Release(t.Context(), tx, addr, h) })
}

func TestAddressesAreGivenInOrderAndAFreedOneRests(t *testing.T) {
	t.Parallel()
	s := withSubnet(t, "10.7.0.0/16")
	first, err := take(t, s, 0, 3)
	if err != nil || fmt.Sprint(first) != "[10.7.0.2 10.7.0.3 10.7.0.4]" {
		t.Fatalf("got %v, %v; the network's own and the service address are nobody's", first, err)
	}
	release(t, s, "10.7.0.3", store.ApplicationHolder("another"))
	release(t, s, "10.7.0.4", store.ApplicationHolder("app-2"))
	next, err := take(t, s, 3, 300)
	if err != nil || next[0] != "10.7.0.5" || next[299] != "10.7.1.48" {
		t.Errorf("got %v, %v", next, err)
	}
}

func TestAFullSubnetSaysWhoHoldsItAndFreedAddressesComeBack(t *testing.T) {
	t.Parallel()
	s := withSubnet(t, "10.7.3.0/24")
	change(t, s, func(tx *store.Tx) error {
		free, err := store.NewAllocator(t.Context(), tx)
		return errors.Join(err, second(free.Take(t.Context(), store.NodeHolder("n1"))))
	})
	if _, err := take(t, s, 0, 253); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "1 nodes and 252 applications") {
		t.Errorf("one more than there are, at once: %v", err)
	}
	all, err := take(t, s, 0, 252)
	if err != nil || all[251] != "10.7.3.254" {
		t.Fatalf("got %v, %v", all, err)
	}
	_, err = take(t, s, 252, 1)
	const says = "subnet 10.7.3.0/24 has no free address: 1 nodes and 252 applications hold all; "
	if !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v; want %q", err, says)
	}
	release(t, s, "10.7.3.77", store.ApplicationHolder("app-73"))
	if _, err := take(t, s, 300, 1); err == nil {
		t.Error("an address that another holds was freed")
	}
	release(t, s, all[73], store.ApplicationHolder("app-73"))
	release(t, s, all[251], store.ApplicationHolder("app-251"))
	again, err := take(t, s, 300, 2)
	if err != nil || fmt.Sprint(again) != fmt.Sprint([]string{all[73], all[251]}) {
		t.Errorf("got %v, %v; want %s and %s back", again, err, all[73], all[251])
	}
}

func second[T any](_ T, err error) error { return err }

// TestOneOfTwoWhoTakeOneAddressTakesAnother has both look before either writes.
func TestOneOfTwoWhoTakeOneAddressTakesAnother(t *testing.T) {
	t.Parallel()
	s := withSubnet(t, "10.7.0.0/16")
	runs := 0
	var mine string
	change(t, s, func(tx *store.Tx) error {
		runs++
		free, err := store.NewAllocator(t.Context(), tx)
		if err != nil {
			return err
		}
		if mine, err = free.Take(t.Context(), store.ApplicationHolder("slow")); runs == 1 {
			if other, err := take(t, s, 0, 1); err != nil || other[0] != mine {
				t.Errorf("the other got %v, %v; want %s, that nobody has yet", other, err, mine)
			}
		}
		return err
	})
	if runs != 2 || mine == "10.7.0.2" {
		t.Errorf("after %d runs the slower one has %s", runs, mine)
	}
}

// TestWhatOthersHoldCostsAnAllocationNothing keeps a transaction from reading, and comparing, all addresses.
func TestWhatOthersHoldCostsAnAllocationNothing(t *testing.T) {
	t.Parallel()
	s := withSubnet(t, "10.7.0.0/16")
	const held = 10_000
	for from := 0; from < held; from += 1000 {
		if _, err := take(t, s, from, 1000); err != nil {
			t.Fatal(err)
		}
	}
	runs := 0
	change(t, s, func(tx *store.Tx) error {
		runs++
		free, err := store.NewAllocator(t.Context(), tx)
		if err != nil {
			return err
		}
		if _, err := free.Take(t.Context(), store.ApplicationHolder("one")); err != nil {
			return err
		}
		if keys, compares := store.KeysRead(free), store.Compares(tx); keys > 256 || compares > 2 {
			t.Errorf("one of %d allocations read %d keys and compares %d", held, keys, compares)
		}
		if runs == 1 { // an address that is freed meanwhile is nobody's concern
			release(t, s, "10.7.9.9", store.ApplicationHolder(fmt.Sprint("app-", 9*256+9-2)))
		}
		return nil
	})
	if runs != 1 {
		t.Errorf("it was tried %d times, though only another address was freed", runs)
	}
}

func TestManyWhoAskAtOnceAllGetTheirOwn(t *testing.T) {
	t.Parallel()
	s := withSubnet(t, "10.7.0.0/16")
	const askers = 40
	given := make([]string, askers)
	var asking sync.WaitGroup
	for i := range askers {
		asking.Go(func() {
			got, err := take(t, s, i, 1)
			if err != nil {
				t.Errorf("asker %d: %v", i, err)
				return
			}
			given[i] = got[0]
		})
	}
	asking.Wait()
	seen := map[string]int{}
	for i, addr := range given {
		if other, twice := seen[addr]; twice {
			t.Errorf("%s was given to %d and to %d", addr, other, i)
		}
		seen[addr] = i
	}
}
