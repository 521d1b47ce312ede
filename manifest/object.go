// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/cluster"
)

// object is a map of a file. Each key is taken once; what is not taken is unknown.
type object struct {
	doc    *document
	path   string
	line   int
	keys   []string // in the file's order, not yet taken
	fields map[string]*yaml.Node
}

// item is a value together with its place.
type item struct {
	path string
	node *yaml.Node
}

// object reads a map, with what it merges from others.
func (d *document) object(path string, n *yaml.Node) (object, bool) {
	o := object{doc: d, path: path, fields: map[string]*yaml.Node{}}
	node, ok := d.resolve(n)
	if !ok {
		return o, false
	}
	o.line = n.Line
	d.lines[path] = n.Line
	if node.Kind != yaml.MappingNode {
		d.bad(path, n.Line, "must be a map of keys to values, not %s", kindOf(node))
		return o, false
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.ShortTag() == "!!merge":
			merged = append(merged, value)
		case key.Kind != yaml.ScalarNode:
			d.bad(path, key.Line, "a key must be a plain text")
		case o.fields[key.Value] != nil:
			d.bad(o.at(key.Value), key.Line, "is there twice")
		default:
			o.add(key, value)
		}
	}
	for _, m := range merged {
		o.merge(m, 0)
	}
	return o, true
}

func (o *object) add(key, value *yaml.Node) {
	o.keys = append(o.keys, key.Value)
	o.fields[key.Value] = value
	o.doc.lines[o.at(key.Value)] = key.Line
}

// merge adds keys of another map that are not there yet.
func (o *object) merge(n *yaml.Node, depth int) {
	node, ok := o.doc.resolve(n)
	switch {
	case !ok || depth > 10:
	case node.Kind == yaml.SequenceNode:
		for _, one := range node.Content {
			o.merge(one, depth+1)
		}
	case node.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			switch {
			case key.ShortTag() == "!!merge":
				o.merge(node.Content[i+1], depth+1)
			case key.Kind == yaml.ScalarNode && o.fields[key.Value] == nil:
				o.add(key, node.Content[i+1])
			}
		}
	default:
		o.doc.bad(o.path, n.Line, "only maps can be merged, not %s", kindOf(node))
	}
}

func (o *object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

func (o *object) bad(key string, line int, format string, args ...any) {
	o.doc.bad(o.at(key), line, format, args...)
}

// take is the value of a key, once.
func (o *object) take(key string) (item, bool) {
	node := o.fields[key]
	if node == nil {
		return item{}, false
	}
	o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	resolved, ok := o.doc.resolve(node)
	return item{o.at(key), resolved}, ok
}

func (o *object) has(key string) bool { return o.fields[key] != nil }

// need says what is missing.
func (o *object) need(keys ...string) {
	for _, key := range keys {
		if !o.has(key) {
			o.bad(key, o.line, "is missing")
		}
	}
}

// end complains about keys that nobody took.
func (o *object) end(known ...string) {
	for _, key := range o.keys {
		o.bad(key, o.doc.lines[o.at(key)], "is an unknown key; known here: %s", strings.Join(known, ", "))
	}
}

// text is a string; anything else has to be put in quotes to become one.
func (o *object) text(key string) string {
	i, ok := o.take(key)
	if !ok {
		return ""
	}
	return o.doc.text(i)
}

func (d *document) text(i item) string {
	if i.node.Kind == yaml.ScalarNode && i.node.ShortTag() == "!!str" {
		return i.node.Value
	}
	if i.node.Kind == yaml.ScalarNode && i.node.ShortTag() != "!!null" {
		d.bad(i.path, i.node.Line, "must be a text, not %s; put it in quotes", kindOf(i.node))
		return ""
	}
	d.bad(i.path, i.node.Line, "must be a text, not %s", kindOf(i.node))
	return ""
}

// whole is a whole number in plain decimal digits.
func (o *object) whole(key string) int64 {
	i, ok := o.take(key)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(i.node.Value, 10, 64)
	if i.node.Kind != yaml.ScalarNode || i.node.ShortTag() != "!!int" || err != nil {
		o.bad(key, i.node.Line, "must be a whole number, not %s", kindOf(i.node))
		return 0
	}
	return n
}

// port is a number from 1 on; what it may be at most is judged with the whole.
func (o *object) port(key string) int {
	n := o.whole(key)
	if line := o.doc.lines[o.at(key)]; o.has(key) && !o.doc.failed[o.at(key)] && (n < 1 || n > 65535) {
		o.bad(key, line, "%d is not from 1 to 65535", n)
		return 0
	}
	return int(n)
}

func (o *object) flag(key string) bool {
	i, ok := o.take(key)
	if !ok {
		return false
	}
	if i.node.Kind != yaml.ScalarNode || i.node.ShortTag() != "!!bool" {
		o.bad(key, i.node.Line, "must be true or false, not %s", kindOf(i.node))
		return false
	}
	return strings.EqualFold(i.node.Value, "true")
}

// size is a number of bytes, above 0.
func (o *object) size(key string) int64 {
	i, ok := o.take(key)
	if !ok {
		return 0
	}
	n, err := cluster.ParseSize(i.node.Value)
	if i.node.Kind != yaml.ScalarNode || err != nil {
		o.bad(key, i.node.Line, "must be a size such as 512M or 1.5G, not %s", kindOf(i.node))
		return 0
	}
	if n == 0 {
		o.bad(key, i.node.Line, "must be above 0")
	}
	return n
}

func (o *object) duration(key string) cluster.Duration {
	i, ok := o.take(key)
	if !ok {
		return 0
	}
	t, err := time.ParseDuration(i.node.Value)
	if i.node.Kind != yaml.ScalarNode || err != nil {
		o.bad(key, i.node.Line, "must be a time such as 500ms, 10s or 2m, not %s", kindOf(i.node))
		return 0
	}
	return cluster.Duration(t)
}

// list is the items of a list.
func (o *object) list(key string) []item {
	i, ok := o.take(key)
	if !ok {
		return nil
	}
	return o.doc.list(i)
}

func (d *document) list(i item) []item {
	if i.node.Kind != yaml.SequenceNode {
		d.bad(i.path, i.node.Line, "must be a list, not %s", kindOf(i.node))
		return nil
	}
	var items []item
	for n, node := range i.node.Content {
		path := fmt.Sprintf("%s[%d]", i.path, n)
		d.lines[path] = node.Line
		resolved, ok := d.resolve(node)
		if !ok {
			return items
		}
		items = append(items, item{path, resolved})
	}
	return items
}

func (o *object) words(key string) []string {
	var words []string
	for _, i := range o.list(key) {
		words = append(words, o.doc.text(i))
	}
	return words
}

// child is a map within this one.
func (o *object) child(key string) (object, bool) {
	i, ok := o.take(key)
	if !ok {
		return object{}, false
	}
	line := o.doc.lines[i.path]
	c, ok := o.doc.object(i.path, i.node)
	o.doc.lines[i.path], c.line = line, line
	return c, ok
}

// objects are the maps of a list.
func (o *object) objects(key string) []object {
	var all []object
	for _, i := range o.list(key) {
		if c, ok := o.doc.object(i.path, i.node); ok {
			all = append(all, c)
		}
	}
	return all
}
