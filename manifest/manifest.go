// SPDX-License-Identifier: Apache-2.0

// Package manifest reads application and deployment files: version 1 is the original's, version 2 a superset of it.
package manifest

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/cluster"
)

// Source is a file's text, with the name that its errors begin with.
type Source struct {
	Name string
	Text []byte
}

// Manifest is what an application file and a deployment file say together.
type Manifest struct {
	// Applications are those that the deployment file places; their Node is as written there, and their volumes name a dataset
	// by name, or by UUID where it has no name.
	Applications []cluster.Application
	// Datasets are those that volumes may write to, without an owner.
	Datasets []cluster.Dataset
	// Nodes are all that the deployment file names, as written there.
	Nodes []string
	// Unplaced are applications that the deployment file puts on no node.
	Unplaced []string
}

// kind is what a file is about.
type kind int

const (
	unknownFile kind = iota
	applicationsOf
	deploymentOf
	figOf
)

// Parse reads an application file and a deployment file, in either order. Its error joins everything that is wrong with them,
// each with the file's name, and a *cluster.FieldError with line and field.
func Parse(one, other Source) (Manifest, error) {
	first, firstErr := load(one)
	second, secondErr := load(other)
	if err := errors.Join(firstErr, secondErr); err != nil {
		return Manifest{}, err
	}
	if first.kind() != second.kind() && (first.kind() == deploymentOf || second.kind() == applicationsOf) {
		first, second = second, first
	}
	if err := errors.Join(first.expect(applicationsOf), second.expect(deploymentOf)); err != nil {
		return Manifest{}, err
	}
	apps, places := readApplications(first), readDeployment(second)
	m := combine(apps, places)
	if err := errors.Join(first.err(), second.err()); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// kind tells a file by its outermost keys.
func (d *document) kind() kind {
	switch {
	case d.root.has("applications") == d.root.has("nodes"):
	case d.root.has("applications"):
		return applicationsOf
	default:
		return deploymentOf
	}
	if d.root.has("services") || d.looksLikeFig() {
		return figOf
	}
	return unknownFile
}

// looksLikeFig says whether every value is a map and any has an image or is to be built.
func (d *document) looksLikeFig() bool {
	built := false
	for _, node := range d.root.fields {
		if node.Kind != yaml.MappingNode {
			return false
		}
		for i := 0; i < len(node.Content); i += 2 {
			built = built || node.Content[i].Value == "image" || node.Content[i].Value == "build"
		}
	}
	return built
}

func (d *document) expect(want kind) error {
	is := d.kind()
	switch {
	case is == want:
		return nil
	case is == figOf:
		d.bad("", 1, "is a Fig or Compose file, which this version does not read; write its services under \"applications:\" (see docs/application-files.md)")
	case is == applicationsOf:
		d.bad("", 1, "is an application file like the other; a deployment file has \"nodes:\"")
	case is == deploymentOf:
		d.bad("", 1, "is a deployment file like the other; an application file has \"applications:\"")
	case want == applicationsOf:
		d.bad("", 1, "is not an application file: it needs \"version:\" and \"applications:\" and no other outermost keys")
	default:
		d.bad("", 1, "is not a deployment file: it needs \"version:\" and \"nodes:\" and no other outermost keys")
	}
	return d.err()
}

// version is 1 or 2; 0 is neither.
func (d *document) version() int64 {
	d.root.need("version")
	if !d.root.has("version") {
		return 0
	}
	v := d.root.whole("version")
	if v == 1 || v == 2 {
		return v
	}
	if !d.failed["version"] {
		d.root.bad("version", d.lines["version"], "%d is not 1 or 2", v)
	}
	return 0
}

// combine puts applications on their nodes, and judges what only both files together can get wrong.
func combine(f *applicationFile, places *deploymentFile) Manifest {
	m := Manifest{Nodes: places.nodes, Datasets: f.datasets}
	known := map[string]bool{}
	for _, name := range f.named {
		known[name] = true
	}
	for _, p := range places.order {
		if !known[p.application] {
			places.doc.bad(p.path, p.line, "application %.80q is not in %s", p.application, f.doc.file)
		}
	}
	for _, a := range f.applications {
		if node, placed := places.on[a.Name]; placed {
			a.Node = node
			m.Applications = append(m.Applications, a)
		} else {
			m.Unplaced = append(m.Unplaced, a.Name)
		}
	}
	m.Datasets = slices.DeleteFunc(m.Datasets, func(d cluster.Dataset) bool { return !m.uses(keyOf(d)) })
	judgePorts(f.doc, m.Applications)
	judgeNodes(f.doc, m.Applications)
	return m
}

func (m Manifest) uses(dataset cluster.DatasetID) bool {
	return slices.ContainsFunc(m.Applications, func(a cluster.Application) bool {
		return slices.Contains(a.DatasetIDs(), dataset)
	})
}

// judgePorts finds external ports that two applications want: each is published on every node.
func judgePorts(d *document, apps []cluster.Application) {
	first := map[string]string{}
	for _, a := range apps {
		for i, p := range a.Ports {
			what := p.Published()
			other := first[what]
			if what == "" || other == a.Name {
				continue
			}
			if other != "" {
				path, line := d.place(fmt.Sprintf("applications.%s.ports[%d].external", a.Name, i))
				d.bad(path, line, "%s is published by application %s too; choose another external port for one of them", what, other)
			}
			first[what] = a.Name
		}
	}
}

// judgeNodes finds applications that share a dataset and are put on different nodes.
func judgeNodes(d *document, apps []cluster.Application) {
	users := map[cluster.DatasetID]cluster.Application{}
	for _, a := range apps {
		for i, v := range a.Volumes {
			first, shared := users[v.Dataset]
			if !shared {
				users[v.Dataset] = a
				continue
			}
			if first.Node != a.Node {
				path, line := d.place(fmt.Sprintf("applications.%s.volumes[%d]", a.Name, i))
				d.bad(path, line, "application %s uses dataset %s too, so that both must be on one node; they are on %s and %s",
					first.Name, v.Dataset, first.Node, a.Node)
			}
		}
	}
}
