// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// What a caller can ask for that is not there.
var (
	ErrNoCluster = errors.New("no such development cluster")
	ErrNoNode    = errors.New("no such node")
	// ErrNotRunning is the answer of a node that is off or frozen.
	ErrNotRunning = errors.New("node is off or frozen")
)

// The labels by which everything of a cluster is found again; there is no other state.
const (
	labelCluster    = "flocker.dev"
	labelNode       = "flocker.dev.node"
	labelPrivileges = "flocker.dev.privileges"
	labelRecipe     = "flocker.dev.recipe"
)

// ControlName is the name of the container that runs the control service.
const ControlName = "control"

// MaxNodes is how many nodes the address plan has room for.
const MaxNodes = 200

// controlHost is the control's host number in the subnet; node N follows N places behind.
const controlHost = 10

// Node is one machine of a cluster.
type Node struct {
	Name      string     `json:"name"` // node1, node2, … or control
	Container string     `json:"container"`
	Address   netip.Addr `json:"address"`
	Address6  netip.Addr `json:"address6,omitzero"` // not valid in a cluster without IPv6
}

// IsControl tells the control's machine from the nodes.
func (n Node) IsControl() bool { return n.Name == ControlName }

var clusterName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,20}$`)

func checkName(name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("cluster name %q: want at most 21 lower-case letters, digits and hyphens", name)
	}
	return nil
}

// hostNumber is a machine's place in the subnet.
func hostNumber(node string) (int, error) {
	if node == ControlName {
		return controlHost, nil
	}
	digits, ok := strings.CutPrefix(node, "node")
	number, err := strconv.Atoi(digits)
	if !ok || err != nil || number < 1 || number > MaxNodes || digits != strconv.Itoa(number) {
		return 0, fmt.Errorf("%w: %q (want control, or node1 to node%d)", ErrNoNode, node, MaxNodes)
	}
	return controlHost + number, nil
}

func nodeAt(of string, subnet, subnet6 netip.Prefix, name string) (Node, error) {
	number, err := hostNumber(name)
	if err != nil {
		return Node{}, err
	}
	base := subnet.Masked().Addr().As4()
	base[3] += byte(number)
	n := Node{Name: name, Container: networkName(of) + "-" + name, Address: netip.AddrFrom4(base)}
	n.Address6 = cluster.Address6(subnet6, n.Address)
	return n, nil
}

func networkName(cluster string) string { return "flocker-" + cluster }

// dataVolume ends the name of the volume of /var/lib/flocker, where a node's storage pool lies.
const dataVolume = "-flocker"

// anySubnet stands in where addresses do not matter.
var anySubnet = netip.MustParsePrefix("10.87.0.0/24")

// SharedFolder is a folder that all nodes share, as they would one of a file server.
const SharedFolder = "/var/lib/flocker-shared"

// sharedVolume ends the name of its volume.
const sharedVolume = "-shared"

// volumesOf maps a node's volumes to where they are mounted in it.
func (c *Cluster) volumesOf(n Node) map[string]string {
	volumes := map[string]string{n.Container + dataVolume: "/var/lib/flocker"}
	if !n.IsControl() {
		volumes[n.Container+"-docker"] = "/var/lib/docker"
		volumes[networkName(c.name)+sharedVolume] = SharedFolder
	}
	return volumes
}
