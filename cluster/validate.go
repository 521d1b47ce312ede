// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what users may write.
const (
	maxMetadata      = 16
	maxMetadataText  = 256 // characters of a key or a value
	maxCommandWords  = 4096
	maxCommandWord   = 4096 // characters
	maxVariable      = 128<<10 - 1
	maxReference     = 4096 // characters of an image's name or of a path
	maxVolumes       = 64
	maxPort          = 65535
	maxSwappiness    = 100
	minMemoryLimit   = 1 << 20
	maxCPUShares     = 1 << 18
	applicationNames = `^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`
	datasetNames     = `^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$`
	uuids            = `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`
)

// ValidateApplicationName says why a name cannot be an application's.
func ValidateApplicationName(name string) error {
	return validateName(name, applicationNames, 63)
}

// ValidateDatasetName says why a name cannot be a dataset's.
func ValidateDatasetName(name string) error {
	return validateName(name, datasetNames, 255)
}

// ValidateSnapshotName says why a name cannot be a snapshot's.
func ValidateSnapshotName(name string) error {
	return validateName(name, datasetNames, 255)
}

// ValidateSnapshotID says why an id cannot be a snapshot's.
func ValidateSnapshotID(id SnapshotID) error {
	if !regexp.MustCompile(uuids).MatchString(string(id)) {
		return &FieldError{Field: "id", Problem: fmt.Sprintf("%.80q is not a UUID in lower case", id)}
	}
	return nil
}

func validateName(name, pattern string, longest int) error {
	switch {
	case name == "":
		return &FieldError{Field: "name", Problem: "is missing"}
	case len(name) > longest:
		return &FieldError{Field: "name", Problem: fmt.Sprintf("is longer than %d characters", longest)}
	case !regexp.MustCompile(pattern).MatchString(name):
		return &FieldError{Field: "name", Problem: fmt.Sprintf(
			"%q is not a name: letters, digits, _, . and - only, beginning with a letter or a digit", name)}
	}
	return nil
}

// FieldErrors are all field errors that err holds.
func FieldErrors(err error) []*FieldError {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand, to find all of them
	case *FieldError:
		return []*FieldError{e}
	case interface{ Unwrap() []error }:
		var all []*FieldError
		for _, inner := range e.Unwrap() {
			all = append(all, FieldErrors(inner)...)
		}
		return all
	case interface{ Unwrap() error }:
		return FieldErrors(e.Unwrap())
	}
	return nil
}

// Validate finds what is wrong with the dataset as a value; each problem is a FieldError.
func (d Dataset) Validate() error {
	p := problems{prefix: "datasets." + shown(d.Name) + "."}
	if !regexp.MustCompile(uuids).MatchString(string(d.ID)) && d.ID != "" {
		p.add("id", "%.80q is not a UUID in lower case", d.ID)
	}
	p.take("name", ValidateDatasetName(d.Name))
	if d.Size < 0 {
		p.add("size", "%d is negative", d.Size)
	}
	if len(d.Metadata) > maxMetadata {
		p.add("metadata", "has %d entries; at most %d", len(d.Metadata), maxMetadata)
	}
	for key, value := range d.Metadata {
		if n := utf8.RuneCountInString(key); n == 0 || n > maxMetadataText {
			p.add("metadata", "a key has %d characters; from 1 to %d", n, maxMetadataText)
		}
		if n := utf8.RuneCountInString(value); n > maxMetadataText {
			p.add("metadata", "the value of %.40q has %d characters; at most %d", key, n, maxMetadataText)
		}
	}
	if d.Profile != "" && !regexp.MustCompile(datasetNames).MatchString(d.Profile) {
		p.add("profile", "%.80q is not a profile's name", d.Profile)
	}
	if field, problem := d.Root.problem(); problem != "" {
		p.add("root."+field, "%s", problem)
	}
	return errors.Join(p.found...)
}

// Validate finds what is wrong with the application as a value; each problem is a FieldError. Whether its node and
// datasets exist is not looked at: they may be named in any way that a request allows.
func (a Application) Validate() error {
	p := problems{prefix: "applications." + shown(a.Name) + "."}
	p.take("name", ValidateApplicationName(a.Name))
	a.validateProcess(&p)
	a.validateLimits(&p)
	a.validatePorts(&p)
	a.validateLinks(&p)
	a.validateVolumes(&p)
	a.validateLife(&p)
	return errors.Join(p.found...)
}

func (a Application) validateProcess(p *problems) {
	repository := a.Image
	if i := strings.LastIndexByte(repository, ':'); i >= 0 {
		repository = repository[:i]
	}
	switch {
	case a.Image == "":
		p.add("image", "is missing")
	case repository == "" || len(a.Image) > maxReference || strings.HasPrefix(a.Image, "-") ||
		strings.ContainsFunc(a.Image, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		p.add("image", "%.80q is not an image such as postgres:17", a.Image)
	}
	p.command("command", a.Command)
	for key, value := range a.Environment {
		switch {
		case key == "" || strings.ContainsAny(key, "=\x00"):
			p.add("environment", "%.80q is not a variable's name", key)
		case strings.ContainsRune(value, 0):
			p.add("environment."+key, "holds a zero byte")
		case len(key)+len(value) > maxVariable:
			p.add("environment."+key, "is longer than %d bytes", maxVariable)
		}
	}
	if a.User != "" && !regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*\$?(:[a-zA-Z0-9_][a-zA-Z0-9_.-]*)?$`).MatchString(a.User) {
		p.add("user", "%.80q is not a user such as 999, postgres or 999:999", a.User)
	}
}

func (a Application) validateLimits(p *problems) {
	if a.MemoryLimit != 0 && a.MemoryLimit < minMemoryLimit {
		p.add("memory_limit", "%d is below %d bytes", a.MemoryLimit, minMemoryLimit)
	}
	if a.CPUShares < 0 || a.CPUShares > maxCPUShares {
		p.add("cpu_shares", "%d is not from 0 to %d", a.CPUShares, maxCPUShares)
	}
	if s := a.Swappiness; s != nil && (*s < 0 || *s > maxSwappiness) {
		p.add("swappiness", "%d is not from 0 to %d", *s, maxSwappiness)
	}
}

func (a Application) validateLinks(p *problems) {
	type name struct {
		alias string
		port  int
	}
	seen := map[name]bool{}
	for i, link := range a.Links {
		field := fmt.Sprintf("links[%d].", i)
		if !regexp.MustCompile(`^[a-zA-Z0-9]{1,64}$`).MatchString(link.Alias) {
			p.add(field+"alias", "%.80q is not an alias: letters and digits only", link.Alias)
		}
		p.port(field+"local_port", link.LocalPort)
		p.port(field+"remote_port", link.RemotePort)
		key := name{strings.ToLower(link.Alias), link.LocalPort}
		if seen[key] {
			p.add(field+"alias", "%.80q with local port %d is there twice", link.Alias, link.LocalPort)
		}
		seen[key] = true
	}
}

func (a Application) validateVolumes(p *problems) {
	if len(a.Volumes) > maxVolumes {
		p.add("volumes", "are %d; at most %d", len(a.Volumes), maxVolumes)
	}
	mounts, sets := map[string]bool{}, map[DatasetID]bool{}
	for i, v := range a.Volumes {
		field := fmt.Sprintf("volumes[%d].", i)
		switch {
		case v.Dataset == "":
			p.add(field+"dataset", "is missing")
		case sets[v.Dataset]:
			p.add(field+"dataset", "%.80q is there twice", v.Dataset)
		}
		if problem := mountPointProblem(v.MountPoint); problem != "" {
			p.add(field+"mountpoint", "%s", problem)
		} else if mounts[v.MountPoint] {
			p.add(field+"mountpoint", "%.80q is there twice", v.MountPoint)
		}
		sets[v.Dataset], mounts[v.MountPoint] = true, true
	}
}

func mountPointProblem(m string) string {
	switch {
	case m == "":
		return "is missing"
	case len(m) > maxReference || strings.ContainsFunc(m, unicode.IsControl) || !utf8.ValidString(m):
		return fmt.Sprintf("%.80q is no path: too long, or with control characters", m)
	case !path.IsAbs(m):
		return fmt.Sprintf("%.80q is not absolute", m)
	case path.Clean(m) != m:
		return fmt.Sprintf("%.80q is to be written %.80q", m, path.Clean(m))
	}
	for _, kernel := range []string{"/", "/proc", "/sys", "/dev"} {
		if m == kernel || (kernel != "/" && kernel != "/dev" && strings.HasPrefix(m, kernel+"/")) {
			return fmt.Sprintf("%.80q belongs to the container itself", m)
		}
	}
	return ""
}

// problems collects what is wrong, by field.
type problems struct {
	prefix string
	found  []error
}

func (p *problems) add(field, format string, args ...any) {
	p.found = append(p.found, &FieldError{Field: p.prefix + field, Problem: fmt.Sprintf(format, args...)})
}

// take adds the problems of err, all of them under one field.
func (p *problems) take(field string, err error) {
	for _, e := range FieldErrors(err) {
		p.add(field, "%s", e.Problem)
	}
}

func (p *problems) port(field string, n int) {
	if n < 1 || n > maxPort {
		p.add(field, "%d is not from 1 to %d", n, maxPort)
	}
}

func (p *problems) command(field string, words []string) {
	if len(words) > maxCommandWords {
		p.add(field, "has %d words; at most %d", len(words), maxCommandWords)
		return
	}
	for i, w := range words {
		if strings.ContainsRune(w, 0) || utf8.RuneCountInString(w) > maxCommandWord {
			p.add(fmt.Sprintf("%s[%d]", field, i), "is longer than %d characters, or holds a zero byte", maxCommandWord)
		}
	}
}

// shown keeps a name that may be anything out of the way of what is said about it.
func shown(name string) string {
	if ValidateDatasetName(name) != nil {
		return fmt.Sprintf("%.40q", name)
	}
	return name
}
