// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// resolverFiles may name this machine's resolvers; where systemd answers names itself, only the first has the real ones.
var resolverFiles = []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"}

// engineConfig keeps containers running while a node's engine is away, and its files small. Containers ask the
// machine's own resolvers: that of a node listens inside the node only.
func engineConfig() ([]byte, error) {
	var dns []string
	for _, file := range resolverFiles {
		content, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find the machine's resolvers: %w", err)
		}
		if dns = resolvers(string(content)); dns != nil {
			break
		}
	}
	config := map[string]any{
		"experimental": true,
		"live-restore": true,
		"exec-opts":    []string{"native.cgroupdriver=cgroupfs"},
		"log-driver":   "json-file",
		"log-opts":     map[string]string{"max-size": "10m", "max-file": "2"},
	}
	if dns != nil {
		config["dns"] = dns
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the engine's configuration: %w", err)
	}
	return content, nil
}

// resolvers leaves out those that only this machine itself can reach.
func resolvers(conf string) []string {
	var all []string
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil && !addr.IsLoopback() {
			all = append(all, addr.String())
		}
	}
	return all
}
