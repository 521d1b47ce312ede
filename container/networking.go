// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// Sentinels of Networking.
var (
	ErrNotJoined      = errors.New("the container runtime has not joined the cluster network")
	ErrAddressDiffers = errors.New("application runs with another address; stop it first")
)

// Networking gives applications their addresses and names.
type Networking interface {
	// Join makes the network of the applications as the cluster wants it. The same again is success. One of other settings is made anew
	// when nobody uses it (*NetworkBusyError). After a Join of other settings that failed nothing is created until one succeeds.
	Join(ctx context.Context, config NetworkConfig) error
	// SetHosts makes exactly these names known in the application's container, also while it runs, and for as long as its holder
	// is there; names that it knows otherwise stay as they are. Without a holder it is ErrNotFound.
	SetHosts(ctx context.Context, application string, hosts map[string]netip.Addr) error
}

// NetworkConfig is the cluster network as one node's runtime has it.
type NetworkConfig struct {
	Subnet  netip.Prefix
	Subnet6 netip.Prefix // not valid: no IPv6 here
	Gateway netip.Addr   // this node's own address
	MTU     int          // of the applications' links; 0 is the runtime's default
}

// Gateway6 is this node's own IPv6 address, where there is IPv6.
func (c NetworkConfig) Gateway6() netip.Addr { return cluster.Address6(c.Subnet6, c.Gateway) }

// Service is the address to which every node answers itself.
func (c NetworkConfig) Service() netip.Addr {
	return cluster.Fabric{Subnet: c.Subnet.String()}.Service()
}

// Check says what is wrong with the settings.
func (c NetworkConfig) Check() error {
	if _, err := cluster.ParseSubnet(c.Subnet.String()); err != nil {
		return fmt.Errorf("join cluster network: %w", err)
	}
	if c.Subnet6.IsValid() {
		if _, err := cluster.ParseSubnet6(c.Subnet6.String()); err != nil {
			return fmt.Errorf("join cluster network: %w", err)
		}
	}
	if err := c.checkHost(c.Gateway); err != nil {
		return fmt.Errorf("join cluster network: gateway: %w", err)
	}
	if c.MTU < 0 || c.MTU > 65535 {
		return fmt.Errorf("join cluster network %s: %d is not an MTU", c.Subnet, c.MTU)
	}
	return nil
}

// CheckSpec refuses an address that an application cannot have, and links to nowhere.
func (c NetworkConfig) CheckSpec(spec Spec) error {
	if err := c.checkHost(spec.Address); err != nil {
		return fmt.Errorf("address of application %s: %w", spec.Application.Name, err)
	}
	if spec.Address == c.Gateway {
		return fmt.Errorf("address of application %s: %s is this node's own", spec.Application.Name, spec.Address)
	}
	for _, link := range spec.Links {
		if !link.Address.IsValid() {
			return fmt.Errorf("link %s of application %s has no address", link.Alias, spec.Application.Name)
		}
	}
	return nil
}

// checkHost refuses what cannot be the address of one host of the subnet.
func (c NetworkConfig) checkHost(address netip.Addr) error {
	switch {
	case !address.IsValid():
		return errors.New("there is none; the cluster gives it")
	case !c.Subnet.Contains(address):
		return fmt.Errorf("%s is outside the cluster network %s", address, c.Subnet)
	case address == c.Subnet.Addr(), address == cluster.LastAddress(c.Subnet), address == c.Service():
		return fmt.Errorf("%s is not for one host of the cluster network %s", address, c.Subnet)
	}
	return nil
}

// NetworkBusyError says which containers keep the runtime's network from being made anew.
type NetworkBusyError struct {
	Network string
	Have    string   // its settings
	Want    string   // the settings asked for
	Ours    []string // containers of this cluster, stopped ones too
	Foreign []string // all others, stopped ones too
}

func (e *NetworkBusyError) Error() string {
	text := fmt.Sprintf("network %s has %s and must have %s", e.Network, e.Have, e.Want)
	if len(e.Foreign) > 0 {
		text += fmt.Sprintf("; containers that are not this cluster's use it: %s; take each off with \"docker network disconnect -f %s NAME\" or remove it",
			strings.Join(e.Foreign, ", "), e.Network)
	}
	if len(e.Ours) > 0 {
		text += "; applications of this cluster use it: " + strings.Join(e.Ours, ", ") + "; stop them and remove their containers, they are made again"
	}
	return text
}

// SubnetTakenError says that another network of the runtime has a part of the cluster's subnet.
type SubnetTakenError struct {
	Network     string
	Subnet      netip.Prefix
	Other       string
	OtherSubnet netip.Prefix
}

func (e *SubnetTakenError) Error() string {
	return fmt.Sprintf("network %s cannot have the subnet %s: network %s has %s; remove that network, or make the cluster with another subnet",
		e.Network, e.Subnet, e.Other, e.OtherSubnet)
}

// AddressTakenError says that another container of the runtime has the application's address.
type AddressTakenError struct {
	Application string
	Address     netip.Addr
	Container   string // who has it
}

func (e *AddressTakenError) Error() string {
	return fmt.Sprintf("application %s cannot have the address %s: container %s has it; remove that container", e.Application, e.Address, e.Container)
}

// CheckHosts refuses a name that would break the file of names, and an address that is none.
func CheckHosts(hosts map[string]netip.Addr) error {
	for name, address := range hosts {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) {
			return fmt.Errorf("%q is not a host's name: want letters, digits, \"-\", \"_\" and \".\"", name)
		}
		if !address.IsValid() || address.Zone() != "" {
			return fmt.Errorf("name %s has no address that other hosts could use", name)
		}
	}
	return nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
}
