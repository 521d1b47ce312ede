// SPDX-License-Identifier: Apache-2.0

package layout_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const longestEntry = 400

var slug = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*\.md$`)

// checkFragment says what is wrong with a changelog fragment: it is one sentence of prose in one paragraph.
func checkFragment(name, content string) error {
	text := strings.TrimSpace(content)
	switch {
	case !slug.MatchString(name):
		return errors.New("its name is not a slug such as restart-moves.md")
	case text == "":
		return errors.New("it is empty")
	case len(text) > longestEntry:
		return errors.New("it is longer than a sentence")
	case strings.Contains(text, "\n\n"):
		return errors.New("it has more than one paragraph")
	case strings.HasPrefix(text, "#"), strings.HasPrefix(text, "-"), strings.HasPrefix(text, "*"):
		return errors.New("it is a heading or a list, not a sentence")
	case !strings.HasSuffix(text, "."):
		return errors.New("it does not end with a full stop")
	}
	return nil
}

func TestChangelogFragments(t *testing.T) {
	folder := filepath.Join(root, "changelog", "unreleased")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := checkFragment(entry.Name(), string(content)); err != nil {
			t.Errorf("changelog/unreleased/%s: %v; changelog/README.md shows the form", entry.Name(), err)
		}
	}
}

func TestBadFragmentsAreRefused(t *testing.T) {
	for _, c := range []struct{ name, content string }{
		{"Move.md", "Moves are faster."},
		{"move.txt", "Moves are faster."},
		{"move.md", "\n"},
		{"move.md", "# Moves\n\nThey are faster."},
		{"move.md", "- Moves are faster."},
		{"move.md", "Moves are faster"},
		{"move.md", "Moves are faster.\n\nMuch."},
		{"move.md", strings.Repeat("Moves are faster. ", 40)},
	} {
		if checkFragment(c.name, c.content) == nil {
			t.Errorf("checkFragment(%q, %.40q) = nil; want an error", c.name, c.content)
		}
	}
	if err := checkFragment("move.md", "Moves are faster.\n"); err != nil {
		t.Errorf("checkFragment of a good one = %v; want nil", err)
	}
}
