// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flocker-project/flocker/cluster"
)

// present counts which of the files are there.
func present(paths ...string) (have int, err error) {
	for _, path := range paths {
		switch _, err := os.Stat(path); {
		case err == nil:
			have++
		case !errors.Is(err, fs.ErrNotExist):
			return 0, err
		}
	}
	return have, nil
}

// file writes a new file, or leaves one that has the same content.
func (s *setup) file(path string, text []byte) error {
	there, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(there, text):
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w: it is there already, with other content; remove it if it is not needed", path, cluster.ErrExists)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := writeWhole(path, text); err != nil {
		return err
	}
	s.did("made %s", path)
	return nil
}

// writeWhole leaves no half file behind, whenever it is cut off.
func writeWhole(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
