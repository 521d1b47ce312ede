// SPDX-License-Identifier: Apache-2.0

package userdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/flocker-project/flocker/internal/run"
)

// Program speaks to a volume's server and shows the volume as a file.
const Program = "qemu-storage-daemon"

// Packages are where it comes from.
const Packages = "qemu-utils (before Debian 13 qemu-system-common)"

// node is the only one of each server.
const node = "volume"

// version is one of QEMU's.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// sound are the versions, by series, from which on the server was seen to keep writes apart of which several are under
// way. Before, it reads the next request into the memory from which it still writes the last (QEMU's "fuse: Copy write buffer
// content before polling"), and the volume gets wrong data without an error. A loop device without direct I/O sends one
// write at a time, which is right with every version; so a series that is not here is slower, not wrong.
var sound = map[[2]int]int{{10, 0}: 13}

func (v version) holdsParallelWrites() bool {
	from, known := sound[[2]int{v[0], v[1]}]
	return known && v[2] >= from
}

// reason says why a device of this version has direct I/O or has not.
func (v version) reason() string {
	if v.holdsParallelWrites() {
		return "this version keeps parallel writes apart"
	}
	return "this version is not known to keep parallel writes apart, so it gets one at a time"
}

// program is the server program, which may be installed, or replaced by another version, while this process runs.
type program struct {
	mu    sync.Mutex
	file  os.FileInfo
	known version
}

var versionForm = regexp.MustCompile(`^qemu-storage-daemon version (\d+)\.(\d+)\.(\d+)`)

// version asks the program, again when its file has changed.
func (p *program) version(ctx context.Context) (version, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	path, err := run.Find(Program)
	if err != nil {
		return version{}, fmt.Errorf("%w (Debian package %s)", err, Packages)
	}
	file, err := os.Stat(path)
	if err != nil {
		return version{}, err
	}
	if p.file != nil && os.SameFile(p.file, file) && p.file.ModTime().Equal(file.ModTime()) && p.file.Size() == file.Size() {
		return p.known, nil
	}
	out, err := run.Command(ctx, Program, "--version").Output()
	if err != nil {
		return version{}, err
	}
	v, err := parseVersion(string(out))
	if err != nil {
		return version{}, err
	}
	p.file, p.known = file, v
	return v, nil
}

func parseVersion(text string) (v version, err error) {
	digits := versionForm.FindStringSubmatch(text)
	if digits == nil {
		return v, fmt.Errorf("%s tells no version: %q", Program, text)
	}
	for i, d := range digits[1:] {
		if v[i], err = strconv.Atoi(d); err != nil {
			return v, fmt.Errorf("%s tells no version: %w", Program, err)
		}
	}
	return v, nil
}

// Check says which program serves devices here and how they are used, for an operator to read.
func Check(ctx context.Context) (string, error) {
	v, err := new(program).version(ctx)
	if err != nil {
		return "", err
	}
	how := "without direct I/O"
	if v.holdsParallelWrites() {
		how = "with direct I/O"
	}
	return fmt.Sprintf("%s %s, %s: %s", Program, v, how, v.reason()), nil
}

// serve starts the server and returns once the volume's file is there. The server goes on
// when this program ends, because an application does.
func (d *Devices) serve(ctx context.Context, spec Spec) error {
	args, err := d.arguments(spec)
	if err != nil {
		return err
	}
	return run.Scoped(ctx, Program, args...).Run()
}

// arguments are those of the server. Its export's path is in them, by which its process is found again.
func (d *Devices) arguments(spec Spec) ([]string, error) {
	args := []string{"--daemonize"}
	add := func(option string, properties map[string]any) error {
		text, err := json.Marshal(properties)
		args = append(args, option, string(text))
		return err
	}
	var failed error
	for _, o := range spec.Objects {
		failed = errors.Join(failed, add("--object", o))
	}
	blockdev := maps.Clone(spec.Blockdev)
	blockdev["node-name"] = node
	failed = errors.Join(failed, add("--blockdev", blockdev))
	socket := strings.ReplaceAll(d.file(spec.ID, socketFile), ",", ",,") // the one option that takes no JSON
	args = append(args, "--chardev", "socket,id=orders,server=on,wait=off,path="+socket)
	args = append(args, "--monitor", "chardev=orders")
	args = append(args, "--export", d.export(spec.ID))
	return args, failed
}

// export is the argument that makes the file: a map's keys are in order when it is written as JSON, so that the text is
// always the same.
func (d *Devices) export(id string) string {
	text, err := json.Marshal(map[string]any{
		"type": "fuse", "id": "export", "node-name": node, "mountpoint": d.file(id, diskFile), "writable": true, "growable": false,
	})
	if err != nil {
		panic(err) // strings and truths have a form
	}
	return string(text)
}
