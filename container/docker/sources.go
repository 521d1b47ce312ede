// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/flocker-project/flocker/container"
)

// unmountable exists, as Docker demands of a source when a container is created, and the kernel refuses to mount it in any
// container: binding a mount namespace inside itself would be a loop.
const unmountable = "/proc/self/ns/mnt"

// sourceLink is what Docker is given as a mount's source: a link of ours, so that the container can be made before its data is here.
func (e *Engine) sourceLink(application string, index int) string {
	return filepath.Join(e.config.SourceDir, application, strconv.Itoa(index))
}

// guardSources points every link at what can never be mounted.
func (e *Engine) guardSources(application string, mounts []container.Mount) error {
	guards := make([]container.Mount, len(mounts))
	for i := range guards {
		guards[i].Source = unmountable
	}
	return e.linkSources(application, guards)
}

// linkSources points the links at the mounts' own sources, whether these are there or not.
func (e *Engine) linkSources(application string, mounts []container.Mount) error {
	if len(mounts) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(e.config.SourceDir, application), 0o700); err != nil {
		return fmt.Errorf("sources of application %s: %w", application, err)
	}
	for i, m := range mounts {
		link := e.sourceLink(application, i)
		if now, err := os.Readlink(link); err == nil && now == m.Source {
			continue
		}
		fresh := link + ".new"
		if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("source of application %s: %w", application, err)
		}
		if err := os.Symlink(m.Source, fresh); err != nil {
			return fmt.Errorf("source of application %s: %w", application, err)
		}
		if err := os.Rename(fresh, link); err != nil {
			return fmt.Errorf("source of application %s: %w", application, err)
		}
	}
	return nil
}

// checkSources finds a missing source before the runtime does, who may have changed the container's own files by then.
func checkSources(mounts []container.Mount) error {
	for _, m := range mounts {
		info, err := os.Lstat(m.Source)
		if err != nil {
			return fmt.Errorf("mount source of dataset %s: %w", m.Dataset, err)
		}
		if !info.IsDir() {
			return fmt.Errorf("mount source of dataset %s: %s is not a folder", m.Dataset, m.Source)
		}
	}
	return nil
}

func (e *Engine) dropSources(application string) error {
	if err := os.RemoveAll(filepath.Join(e.config.SourceDir, application)); err != nil {
		return fmt.Errorf("sources of application %s: %w", application, err)
	}
	return nil
}
