// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/internal/run"
)

// bootstrapped is a Debian made of packages, for machines that reach no image registry.
const bootstrapped = "flocker-dev/debian:" + suite

// leftOut of a Debian made of packages is what an image has no use for.
var leftOut = []string{
	"./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*", "./dev/*",
	"./usr/share/doc/*", "./usr/share/man/*", "./usr/share/info/*", "./usr/share/locale/*",
}

// foundation finds what the base image is built from, and the files of this machine that go into it.
func (e *Engine) foundation(ctx context.Context, official string) (from string, machine map[string][]byte, err error) {
	settings, err := readAptSettings(ctx)
	if err != nil {
		return "", nil, err
	}
	machine, err = settings.files()
	if err != nil {
		return "", nil, err
	}
	for _, ref := range []string{official, bootstrapped} {
		present, _, err := e.inspectImage(ctx, ref)
		if err != nil || present {
			return ref, machine, err
		}
	}
	err = e.pull(ctx, official)
	if err == nil || !errors.Is(err, errNoRegistry) {
		return official, machine, err
	}
	e.say("no image registry in reach; making Debian " + suite + " from packages (about a minute, once)")
	return bootstrapped, machine, e.bootstrap(ctx, settings)
}

func (e *Engine) bootstrap(ctx context.Context, settings aptSettings) (err error) {
	dir, err := os.MkdirTemp("/var/tmp", "flocker-dev-")
	if err != nil {
		return fmt.Errorf("make Debian %s: %w", suite, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root := filepath.Join(dir, "root")
	args := []string{"--variant=minbase", suite, root}
	if settings.mirror != "" {
		args = append(args, settings.mirror)
	}
	cmd := run.Command(ctx, "debootstrap", args...)
	cmd.Env = settings.proxyEnv()
	if out, err := cmd.Output(); err != nil {
		if errors.Is(err, run.ErrNotInstalled) {
			return fmt.Errorf("make Debian %s: %w (on Debian: apt-get install debootstrap)", suite, err)
		}
		return fmt.Errorf("make Debian %s: %w\n%s", suite, err, out[max(0, len(out)-500):])
	}
	return e.importTree(ctx, root)
}

func (e *Engine) importTree(ctx context.Context, root string) error {
	args := []string{"-C", root, "--numeric-owner", "-c"}
	for _, pattern := range leftOut {
		args = append(args, "--exclude="+pattern)
	}
	r, w := io.Pipe()
	pack := run.Command(ctx, "tar", append(args, ".")...)
	pack.Stdout = w
	packed := make(chan error, 1)
	go func() {
		err := pack.Run()
		w.CloseWithError(err) // nil becomes the end of the archive
		packed <- err
	}()
	err := e.importArchive(ctx, r)
	r.CloseWithError(errors.New("the engine reads no more")) // lets tar end where the import failed
	return errors.Join(err, <-packed)
}

func (e *Engine) importArchive(ctx context.Context, archive io.Reader) error {
	source := client.ImageImportSource{Source: archive, SourceName: "-"}
	answer, err := e.docker.ImageImport(ctx, source, bootstrapped, client.ImageImportOptions{})
	if err != nil {
		return fmt.Errorf("import image %s: %w", bootstrapped, err)
	}
	defer func() { _ = answer.Close() }() // read to its end below
	if err := drain(decodeStream(answer), func() {}); err != nil {
		return fmt.Errorf("import image %s: %w", bootstrapped, err)
	}
	return nil
}

var proxyLine = regexp.MustCompile(`(?i)Acquire::(https?)::Proxy "([^"]+)"`)

// proxyEnv hands apt's proxy to programs that know nothing of apt.
func (s aptSettings) proxyEnv() []string {
	var env []string
	for _, m := range proxyLine.FindAllStringSubmatch(s.conf, -1) {
		env = append(env, m[1]+"_proxy="+m[2])
	}
	return env
}

// decodeStream reads the messages of an answer that the client gives only as bytes.
func decodeStream(r io.Reader) func(func(jsonstream.Message, error) bool) {
	return func(yield func(jsonstream.Message, error) bool) {
		decoder := json.NewDecoder(r)
		for {
			var m jsonstream.Message
			err := decoder.Decode(&m)
			if errors.Is(err, io.EOF) || !yield(m, err) || err != nil {
				return
			}
		}
	}
}
