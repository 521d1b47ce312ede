// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// line is a filesystem of ours with its snapshots.
type line struct {
	name       string
	dataset    cluster.DatasetID
	head       *record // nil without a head
	ending     string  // what is being done to it
	profile    string  // whose properties it has
	origin     string  // the snapshot that it is a clone of, or empty
	mountpoint string  // absolute; empty where it has none
	refquota   int64
	referenced int64
	written    int64 // since the last snapshot of any kind, as of the last transaction group
	encrypted  bool
	snapshots  []snapshot // foreign ones too, oldest first
}

// snapshot is one of a line's.
type snapshot struct {
	name    string // what follows the @
	guid    uint64
	txg     uint64
	created time.Time
	used    int64
	holds   int64
	lineage backend.Lineage
	whole   bool // it is ours and has a lineage's name
	gone    bool // it had, and was deleted
}

func (s snapshot) ours() bool { return s.whole || s.gone || strings.HasPrefix(s.name, ownPrefix) }

func (s snapshot) id() string { return fmt.Sprintf("%016x", s.guid) }

func (s snapshot) describe() cluster.Snapshot {
	return cluster.Snapshot{
		Name: s.name, Epoch: s.lineage.Epoch, Serial: s.lineage.Serial,
		ID: s.id(), Created: s.created, Used: s.used,
	}
}

func (l *line) at(snapshot string) string { return l.name + "@" + snapshot }

// last is the newest snapshot of any kind.
func (l *line) last() (snapshot, bool) {
	if len(l.snapshots) == 0 {
		return snapshot{}, false
	}
	return l.snapshots[len(l.snapshots)-1], true
}

// newest is the newest whole snapshot.
func (l *line) newest() (snapshot, bool) {
	for _, s := range slices.Backward(l.snapshots) {
		if s.whole {
			return s, true
		}
	}
	return snapshot{}, false
}

func (l *line) find(name string) (snapshot, bool) {
	i := slices.IndexFunc(l.snapshots, func(s snapshot) bool { return s.whole && s.name == name })
	if i < 0 {
		return snapshot{}, false
	}
	return l.snapshots[i], true
}

// rests says that the line is nothing but its snapshots up to that one.
func (l *line) rests(snapshot string) bool {
	last, ok := l.last()
	return ok && last.name == snapshot && l.head == nil && l.ending == "" && l.written == 0
}

// lines of one dataset.
type lines []*line

func (ls lines) head() *line {
	for _, l := range ls {
		if l.head != nil && l.ending == "" {
			return l
		}
	}
	return nil
}

func (ls lines) find(name string) (*line, snapshot, bool) {
	for _, l := range ls {
		if s, ok := l.find(name); ok && l.ending != endingWhole {
			return l, s, true
		}
	}
	return nil, snapshot{}, false
}

// tree is all that is below the parent.
type tree struct {
	lines    lines    // by name
	hidden   []string // filesystems that are half made
	partials []partial
}

func (t *tree) of(id cluster.DatasetID) (found lines) {
	for _, l := range t.lines {
		if l.dataset == id {
			found = append(found, l)
		}
	}
	return found
}

// read reads everything. What goes away meanwhile is a reason to look again.
func (d *Driver) read(ctx context.Context) (*tree, error) { return d.readBelow(ctx, d.parent) }

func (d *Driver) readBelow(ctx context.Context, name string) (t *tree, err error) {
	properties := []string{
		"guid", "createtxg", "creation", "used", "referenced", "origin", "refquota", "mountpoint", "userrefs",
		d.can.written, datasetMark, headMark, endingMark, goneMark, profileMark,
	}
	if d.can.encryption {
		properties = append(properties, "encryption")
	}
	if d.can.resumes {
		properties = append(properties, tokenProperty)
	}
	for range 5 {
		var out []byte
		out, err = d.zfs(ctx, "get", "-Hrp", "-o", "name,property,value,source", strings.Join(properties, ","), name)
		if err == nil {
			return d.parse(string(out))
		}
		if !errors.Is(err, backend.ErrNotFound) {
			break
		}
	}
	return nil, err
}

// look reads one dataset's lines.
func (d *Driver) look(ctx context.Context, id cluster.DatasetID) (lines, error) {
	t, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	return t.of(id), nil
}

// values are properties of one filesystem or snapshot; those that are ours only where they are set on it.
type values map[string]string

func (v values) number(property string) (int64, error) {
	text := v[property]
	if text == "" || text == "-" || text == "none" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", property, err)
	}
	return n, nil
}

// unsigned is for identities, which use all 64 bits.
func (v values) unsigned(property string) (uint64, error) {
	n, err := strconv.ParseUint(v[property], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", property, err)
	}
	return n, nil
}

func (d *Driver) parse(out string) (*tree, error) {
	all, order := map[string]values{}, []string{}
	for text := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSuffix(text, "\n"), "\t")
		if len(fields) != 4 {
			return nil, fmt.Errorf("zfs get said %q", text)
		}
		name, property, value, source := fields[0], fields[1], fields[2], fields[3]
		if all[name] == nil {
			all[name] = values{}
			order = append(order, name)
		}
		if strings.Contains(property, ":") && source != "local" {
			continue
		}
		all[name][property] = value
	}
	t := new(tree)
	for _, name := range order {
		if strings.Contains(name, "@") {
			continue
		}
		if d.hidden(name, all[name]["origin"]) {
			if p, ok := d.partialOf(name, all[name]); ok {
				t.partials = append(t.partials, p)
			} else {
				t.hidden = append(t.hidden, name)
			}
			continue
		}
		if err := d.addLine(t, name, all[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range order {
		if err := t.addSnapshot(name, all[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, l := range t.lines {
		slices.SortStableFunc(l.snapshots, func(a, b snapshot) int { return cmp.Compare(a.txg, b.txg) })
	}
	t.supersede()
	return t, d.forgive(t, all[d.incoming()])
}

// forgive counts as not written what ZFS rewrites of a filesystem that nobody writes to. A mount, a clone and a rollback rewrite one block, with the
// head of the log in it, in two or three copies, and ZFS itself counts that as no change (dsl_dataset_modified_since_snap). A write
// rewrites at least the blocks of the way to it, which are half of what an empty filesystem is made of. Encrypted ones have larger blocks.
func (d *Driver) forgive(t *tree, empty values) error {
	if d.can.written != "written" { // the old versions rewrite nothing
		return nil
	}
	size, err := empty.number("referenced")
	for _, l := range t.lines {
		slack := size / 8
		if l.encrypted {
			slack = max(slack, 3*4096)
		}
		if l.written <= slack {
			l.written = 0
		}
	}
	return err
}

// supersede lets only the latest of a dataset's heads be one.
func (t *tree) supersede() {
	latest := map[cluster.DatasetID]uint64{}
	for _, l := range t.lines {
		if l.head != nil {
			latest[l.dataset] = max(latest[l.dataset], l.head.Turn)
		}
	}
	for _, l := range t.lines {
		if l.head != nil && l.ending == "" && l.head.Turn < latest[l.dataset] {
			l.ending = endingHead
		}
	}
}

// addLine adds a filesystem that is marked, directly below the parent.
func (d *Driver) addLine(t *tree, name string, v values) error {
	rest, below := strings.CutPrefix(name, d.parent+"/")
	if !below || strings.ContainsAny(rest, "/@") || !uuidForm.MatchString(v[datasetMark]) {
		return nil
	}
	l := &line{name: name, dataset: cluster.DatasetID(v[datasetMark]), ending: v[endingMark], profile: v[profileMark]}
	if l.origin = v["origin"]; l.origin == "-" {
		l.origin = ""
	}
	if strings.HasPrefix(v["mountpoint"], "/") {
		l.mountpoint = v["mountpoint"]
	}
	l.encrypted = v["encryption"] != "" && v["encryption"] != "off" && v["encryption"] != "-"
	var errs [4]error
	l.refquota, errs[0] = v.number("refquota")
	l.referenced, errs[1] = v.number("referenced")
	l.written, errs[2] = v.number(d.can.written)
	if text := v[headMark]; text != "" {
		l.head, errs[3] = decodeRecord(text)
	}
	t.lines = append(t.lines, l)
	return errors.Join(errs[:]...)
}

// addSnapshot adds a snapshot to its line, if it is a line's.
func (t *tree) addSnapshot(name string, v values) error {
	filesystem, of, is := strings.Cut(name, "@")
	i := slices.IndexFunc(t.lines, func(l *line) bool { return l.name == filesystem })
	if !is || i < 0 {
		return nil
	}
	s := snapshot{name: of}
	var err error
	if s.lineage, err = backend.ParseLineage(of); err == nil {
		s.gone = v[goneMark] != ""
		s.whole = !s.gone
	}
	var created int64
	var errs [5]error
	s.guid, errs[0] = v.unsigned("guid")
	s.txg, errs[1] = v.unsigned("createtxg")
	created, errs[2] = v.number("creation")
	s.used, errs[3] = v.number("used")
	s.holds, errs[4] = v.number("userrefs")
	s.created = time.Unix(created, 0).UTC()
	t.lines[i].snapshots = append(t.lines[i].snapshots, s)
	return errors.Join(errs[:]...)
}
