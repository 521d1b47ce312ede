// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// hearing says from which nodes an application is heard: every port answers on every node, so what counts is which
// kernels let the application's frames through. It asks them, not Flocker.
type hearing struct {
	lab *Lab

	mu   sync.Mutex
	pids map[string]string // of the first process of each node, which changes when it boots
}

// hardwareAddress is the application's for life.
func (h *hearing) hardwareAddress(ctx context.Context, application string) (string, error) {
	a, err := h.lab.Application(ctx, application)
	if err != nil {
		return "", err
	}
	address, err := netip.ParseAddr(a.Address)
	if err != nil {
		return "", fmt.Errorf("address of application %s: %w", application, err)
	}
	return cluster.MACOf(address), nil
}

// nodes lists those from which the hardware address is heard.
func (h *hearing) nodes(ctx context.Context, mac string) []string {
	answers := make([]bool, h.lab.Nodes)
	var wg sync.WaitGroup
	for i := range h.lab.Nodes {
		wg.Go(func() { answers[i] = h.heard(ctx, Node(i+1), mac) })
	}
	wg.Wait()
	var nodes []string
	for i, heard := range answers {
		if heard {
			nodes = append(nodes, Node(i+1))
		}
	}
	return nodes
}

// heard asks one node's kernel. A node that is off, or has no such set, lets nobody be heard.
func (h *hearing) heard(ctx context.Context, node, mac string) bool {
	for _, known := range []bool{true, false} {
		pid, err := h.pid(ctx, node, known)
		if err != nil {
			return false
		}
		out, err := run.Command(ctx, "nsenter", "--target", pid, "--net", "nft", "list", "set", "bridge", "flocker", "live").Output()
		if err == nil {
			return strings.Contains(string(out), mac)
		}
	}
	return false
}

func (h *hearing) pid(ctx context.Context, node string, known bool) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pid, ok := h.pids[node]; ok && known {
		return pid, nil
	}
	out, err := run.Command(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", "flocker-"+h.lab.Name+"-"+node).Output()
	if err != nil {
		return "", err
	}
	h.pids[node] = strings.TrimSpace(string(out))
	return h.pids[node], nil
}
