// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

const noteSuffix = ".handover"

// Notes say of which moves the hand-over may have been sent: one fsynced file for
// each, which is the only thing an agent writes down for itself.
type Notes struct{ dir string }

// OpenNotes keeps notes in a folder, which it makes.
func OpenNotes(dir string) (*Notes, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of notes: %w", err)
	}
	return &Notes{dir: dir}, nil
}

// Write notes that the hand-over of this attempt may be sent from now on. When it
// returns the note survives a loss of power.
func (n *Notes) Write(id cluster.MoveID, attempt int) error {
	name, err := n.name(id)
	if err != nil {
		return err
	}
	if err := writeSynced(name+".tmp", strconv.Itoa(attempt)+"\n"); err != nil {
		return fmt.Errorf("note the hand-over of move %s: %w", id, err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("note the hand-over of move %s: %w", id, err)
	}
	return n.sync()
}

// Remove forgets a note; none is success.
func (n *Notes) Remove(id cluster.MoveID) error {
	name, err := n.name(id)
	if err != nil {
		return err
	}
	err = os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the note of move %s: %w", id, err)
	}
	return n.sync()
}

// List returns the noted moves with the attempt of each. A note that cannot be read
// is an error: without it nothing may start.
func (n *Notes) List() (map[cluster.MoveID]int, error) {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil, fmt.Errorf("read the notes of hand-overs: %w", err)
	}
	noted := map[cluster.MoveID]int{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), noteSuffix)
		if !ok {
			continue
		}
		text, err := os.ReadFile(filepath.Join(n.dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its outcome became known while this looked
		}
		if err != nil {
			return nil, fmt.Errorf("read the note of move %s: %w", id, err)
		}
		attempt, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("read the note of move %s: %w", id, err)
		}
		noted[cluster.MoveID(id)] = attempt
	}
	return noted, nil
}

func (n *Notes) name(id cluster.MoveID) (string, error) {
	if id == "" || strings.ContainsAny(string(id), "/\\\x00") || strings.HasPrefix(string(id), ".") {
		return "", fmt.Errorf("move id %q: %w", id, cluster.ErrInvalid)
	}
	return filepath.Join(n.dir, string(id)+noteSuffix), nil
}

func (n *Notes) sync() (err error) {
	d, err := os.Open(n.dir)
	if err != nil {
		return fmt.Errorf("sync the folder of notes: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync the folder of notes: %w", err)
	}
	return nil
}

func writeSynced(name, text string) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}
