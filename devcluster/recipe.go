// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

//go:embed images
var recipes embed.FS

// recipe is how an image is built: its files, and the hash over them and over what it is built from.
type recipe struct {
	name  string // of its folder in images
	files map[string][]byte
	tag   string
}

func readRecipe(name, from string) (recipe, error) {
	r := recipe{name: name, files: map[string][]byte{}}
	dir := "images/" + name
	err := fs.WalkDir(recipes, dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := recipes.ReadFile(path)
		r.files[strings.TrimPrefix(path, dir+"/")] = content
		return err
	})
	if err != nil {
		return recipe{}, fmt.Errorf("recipe of image %s: %w", name, err)
	}
	r.tag = "flocker-dev/" + name + ":" + hashRecipe(from, r.files)
	return r, nil
}

// hashRecipe leaves out what comes from the machine: a mirror that changes does not make an image old.
func hashRecipe(from string, files map[string][]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", suite, from)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %d\n%s", path, len(files[path]), files[path])
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// tarOf packs files, with more put beside them.
func tarOf(files, more map[string][]byte) (*bytes.Buffer, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, set := range []map[string][]byte{files, more} {
		for _, path := range slices.Sorted(maps.Keys(set)) {
			header := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(set[path]))}
			if err := w.WriteHeader(header); err != nil {
				return nil, fmt.Errorf("pack %s: %w", path, err)
			}
			if _, err := w.Write(set[path]); err != nil {
				return nil, fmt.Errorf("pack %s: %w", path, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack files: %w", err)
	}
	return &buffer, nil
}
