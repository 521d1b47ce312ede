// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// Options of Docker's bridge driver.
const (
	optionBridge = "com.docker.network.bridge.name"
	optionMTU    = "com.docker.network.driver.mtu"
	driver       = "bridge"
)

// networkOptions leave Docker nothing to choose: its range for addresses of its own choice is the gateway's alone, because any
// other address may be that of an application on another node.
func (e *Engine) networkOptions(config container.NetworkConfig) client.NetworkCreateOptions {
	// Said in either case: an engine can be set to give every network IPv6. A network that names its subnet needs no such setting.
	ipv6 := config.Subnet6.IsValid()
	options := client.NetworkCreateOptions{
		Driver:     driver,
		Options:    map[string]string{optionBridge: e.config.Bridge},
		Labels:     map[string]string{labelCluster: e.config.Cluster},
		EnableIPv6: &ipv6,
		IPAM: &dockernetwork.IPAM{Driver: "default", Config: []dockernetwork.IPAMConfig{
			pool(config.Subnet, config.Gateway, config.Service()),
		}},
	}
	if ipv6 {
		service := cluster.Address6(config.Subnet6, config.Service())
		options.IPAM.Config = append(options.IPAM.Config, pool(config.Subnet6, config.Gateway6(), service))
	}
	if config.MTU > 0 {
		options.Options[optionMTU] = strconv.Itoa(config.MTU)
	}
	return options
}

func pool(subnet netip.Prefix, gateway, service netip.Addr) dockernetwork.IPAMConfig {
	return dockernetwork.IPAMConfig{
		Subnet:     subnet,
		Gateway:    gateway,
		IPRange:    netip.PrefixFrom(gateway, gateway.BitLen()),
		AuxAddress: map[string]netip.Addr{"service": service},
	}
}

func settingsOf(found dockernetwork.Inspect) string {
	return settings(found.Driver, found.IPAM, found.EnableIPv6, found.Options)
}

func settingsWanted(want client.NetworkCreateOptions) string {
	return settings(want.Driver, *want.IPAM, *want.EnableIPv6, want.Options)
}

// settings is what two networks must have alike, as text.
func settings(driver string, ipam dockernetwork.IPAM, ipv6 bool, options map[string]string) string {
	var pools []string
	for _, pool := range ipam.Config {
		if pool.Subnet.Addr().Is4() || ipv6 {
			pools = append(pools, fmt.Sprintf("subnet %s, gateway %s, own range %s", pool.Subnet, pool.Gateway, pool.IPRange))
		}
	}
	mtu := options[optionMTU]
	if mtu == "" {
		mtu = "default"
	}
	slices.Sort(pools)
	return fmt.Sprintf("%s, driver %s, interface %s, MTU %s", strings.Join(pools, " and "), driver, options[optionBridge], mtu)
}
