// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// deploymentFile says where applications are to be.
type deploymentFile struct {
	doc   *document
	nodes []string // in the file's order
	on    map[string]cluster.NodeID
	order []placement
}

type placement struct {
	application string
	line        int
	path        string
}

func readDeployment(d *document) *deploymentFile {
	f := &deploymentFile{doc: d, on: map[string]cluster.NodeID{}}
	d.version()
	d.root.need("nodes")
	if nodes, ok := d.root.child("nodes"); ok {
		for _, node := range slices.Clone(nodes.keys) {
			f.node(node, &nodes)
		}
	}
	d.root.end("version", "nodes")
	return f
}

// node reads the applications of a node: its name, its address, its UUID or the beginning of that.
func (f *deploymentFile) node(node string, nodes *object) {
	if len(node) == 0 || len(node) > 255 {
		nodes.bad(node, nodes.line, "%.40q is no node's name or address", node)
	}
	f.nodes = append(f.nodes, node)
	for _, i := range nodes.list(node) {
		name := f.doc.text(i)
		if f.doc.failed[i.path] {
			continue
		}
		if other, placed := f.on[name]; placed {
			f.doc.bad(i.path, f.doc.lines[i.path], "application %.80q is on node %s already; it runs on one node", name, other)
			continue
		}
		f.on[name] = cluster.NodeID(node)
		f.order = append(f.order, placement{name, f.doc.lines[i.path], i.path})
	}
}
