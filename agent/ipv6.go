// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// IPv6OfHost says why applications cannot have IPv6 on this host; nil where they can.
func IPv6OfHost() error { return ipv6Of("/proc") }

func ipv6Of(proc string) error {
	// Of a kernel without IPv6, and of one that was started with ipv6.disable=1, the settings are not there.
	off, err := readSetting(proc, "all", "disable_ipv6")
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("this host's kernel has no IPv6")
	case err != nil:
		return fmt.Errorf("see whether this host has IPv6: %w", err)
	case off != "0":
		return errors.New("IPv6 is switched off on this host: net.ipv6.conf.all.disable_ipv6 is " + off)
	}
	return defaultRouteStays(proc)
}

// Flags of /proc/net/ipv6_route.
const (
	routeDefault    = 0x00010000
	routeAdvertised = 0x00040000 // by a router; the kernel itself took it in
)

// defaultRouteStays refuses a host that would lose its own way out: with the first network of IPv6 Docker makes the kernel forward,
// and one that forwards drops the routes that routers advertise, unless it is told to heed them all the same.
func defaultRouteStays(proc string) error {
	routes, err := os.ReadFile(filepath.Join(proc, "net", "ipv6_route"))
	if err != nil {
		return fmt.Errorf("see where this host's IPv6 routes come from: %w", err)
	}
	for line := range strings.Lines(string(routes)) {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		flags, err := strconv.ParseUint(fields[8], 16, 32)
		if err != nil || flags&routeDefault == 0 || flags&routeAdvertised == 0 {
			continue
		}
		device := fields[9]
		heeds, err := readSetting(proc, device, "accept_ra")
		if err != nil {
			return fmt.Errorf("see where this host's IPv6 routes come from: %w", err)
		}
		if heeds != "2" {
			return fmt.Errorf("a router advertises this host's default route on %s, and the kernel would drop it once it forwards for applications; "+
				"set net.ipv6.conf.%s.accept_ra to 2 and start the agent again", device, device)
		}
	}
	return nil
}

func readSetting(proc, device, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(proc, "sys", "net", "ipv6", "conf", device, name))
	return strings.TrimSpace(string(text)), err
}
