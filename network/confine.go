// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// ErrLate says that an answer came after the question had ended: what it allows may be another's by now.
var ErrLate = errors.New("the answer came too late")

// The sets by which an application is heard only as long as somebody else says so, all in table "bridge flocker".
const (
	confinedSet = "confined" // who is heard only while in the next one
	allowedSet  = "allowed"  // who may be heard; the kernel takes them away
	askedSet    = "asked"    // has one element while an answer still counts
)

// question is the one element of askedSet.
var question = make([]byte, macLength)

// Confine makes exactly the applications with these addresses ones that are heard from this node only while Allow lets them be.
func (n *Network) Confine(_ context.Context, addrs []netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := changeSome(fresh(confinedSet, 0, addrs)...); err != nil {
		return fmt.Errorf("confine %v: %w", addrs, err)
	}
	return nil
}

// Confined reads back from the kernel which applications are heard only while they are allowed to be.
func (n *Network) Confined(ctx context.Context) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	nft, err := kept(&n.shut, knftables.BridgeFamily, tableName)
	if err != nil {
		return nil, err
	}
	return listAddresses(ctx, nft, confinedSet, addressOf)
}

// Ask begins a question whose answer Allow may bring within limit.
func (n *Network) Ask(_ context.Context, limit time.Duration) error {
	if limit < time.Millisecond {
		return fmt.Errorf("ask whom to allow: limit %v is too short", limit)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := elements{family: unix.NFPROTO_BRIDGE, set: askedSet, keys: [][]byte{question}, limit: limit}
	if err := changeSome(elements{family: unix.NFPROTO_BRIDGE, set: askedSet, away: true, all: true}, asked); err != nil {
		return fmt.Errorf("ask whom to allow: %w", err)
	}
	return nil
}

// Allow answers the question: of those that are confined exactly these may be heard, for limit from now on, which the kernel ends. The
// kernel decides in the same step whether the question still stands; otherwise nothing changes and the error is ErrLate. So however long
// a process was stopped in between, nobody is heard later than both limits after the question.
func (n *Network) Allow(_ context.Context, addrs []netip.Addr, limit time.Duration) error {
	if limit < time.Millisecond {
		return fmt.Errorf("allow %v: limit %v is too short", addrs, limit)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := elements{family: unix.NFPROTO_BRIDGE, set: askedSet, keys: [][]byte{question}, away: true}
	err := changeSome(append([]elements{asked}, fresh(allowedSet, limit, addrs)...)...)
	if errors.Is(err, unix.ENOENT) {
		err = ErrLate
	}
	if err != nil {
		return fmt.Errorf("allow %v: %w", addrs, err)
	}
	return nil
}

// fresh makes these the only members of a set.
func fresh(set string, limit time.Duration, addrs []netip.Addr) []elements {
	members := elements{family: unix.NFPROTO_BRIDGE, set: set, limit: limit}
	for _, addr := range addrs {
		members.keys = append(members.keys, macOf(addr))
	}
	return []elements{{family: unix.NFPROTO_BRIDGE, set: set, away: true, all: true}, members}
}

// changeSome leaves out changes of nothing.
func changeSome(changes ...elements) error {
	return changeElements(slices.DeleteFunc(changes, func(c elements) bool { return !c.all && len(c.keys) == 0 }))
}

func confinedSets() []knftables.Object {
	ends := []knftables.SetFlag{knftables.TimeoutFlag}
	return []knftables.Object{
		&knftables.Set{Name: confinedSet, Type: "ether_addr"},
		&knftables.Set{Name: allowedSet, Type: "ether_addr", Flags: ends},
		&knftables.Set{Name: askedSet, Type: "ether_addr", Flags: ends},
	}
}

// confinedRule drops what goes in a direction, "saddr" or "daddr", from or to who is confined and not allowed.
func confinedRule(direction string) string {
	return fmt.Sprintf("ether %s @%s ether %s != @%s drop", direction, confinedSet, direction, allowedSet)
}

// addressOf is the address that goes with an application's hardware address.
func addressOf(key string) (netip.Addr, error) {
	mac, err := net.ParseMAC(key)
	if err != nil || len(mac) != macLength {
		return netip.Addr{}, fmt.Errorf("%q is not a hardware address", key)
	}
	return netip.AddrFrom4([4]byte(mac[2:])), nil
}
