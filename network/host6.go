// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// IPv6OfHost says why applications cannot have IPv6 on this host; nil where they can.
func IPv6OfHost() error {
	// Of a kernel without IPv6, and of one that was started with ipv6.disable=1, the settings are not there.
	off, err := readSetting("ipv6/conf/all/disable_ipv6")
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("this host's kernel has no IPv6")
	case err != nil:
		return fmt.Errorf("see whether this host has IPv6: %w", err)
	case off != "0":
		return errors.New("IPv6 is switched off on this host: net.ipv6.conf.all.disable_ipv6 is " + off)
	}
	return defaultRouteStays()
}

const (
	// routes6 has flags that netlink does not tell of.
	routes6         = "/proc/thread-self/net/ipv6_route"
	routeDefault    = 0x00010000
	routeAdvertised = 0x00040000 // by a router; the kernel itself took it in
)

// defaultRouteStays refuses a host that would lose its own way out: with the first network of IPv6 Docker makes the kernel forward,
// and one that forwards drops the routes that routers advertise, unless it is told to heed them all the same. To tell it so is left to
// who runs the host: at the next boot Docker forwards before any agent runs.
func defaultRouteStays() error {
	routes, err := os.ReadFile(routes6)
	if err != nil {
		return fmt.Errorf("see where this host's IPv6 routes come from: %w", err)
	}
	for line := range strings.Lines(string(routes)) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			return fmt.Errorf("see where this host's IPv6 routes come from: %s says %q", routes6, line)
		}
		flags, err := strconv.ParseUint(fields[8], 16, 32)
		if err != nil {
			return fmt.Errorf("see where this host's IPv6 routes come from: %s says %q: %w", routes6, line, err)
		}
		if flags&routeDefault == 0 || flags&routeAdvertised == 0 {
			continue
		}
		device := fields[9]
		heeds, err := readSetting(filepath.Join("ipv6/conf", device, "accept_ra"))
		if err != nil {
			return fmt.Errorf("see whether the route that a router advertises on %s would stay: %w", device, err)
		}
		if heeds != "2" {
			return fmt.Errorf("a router advertises this host's default route on %s, and the kernel would drop it once it forwards for applications; "+
				"set net.ipv6.conf.%s.accept_ra to 2, now and in /etc/sysctl.d, and start the agent again", device, device)
		}
	}
	return nil
}
