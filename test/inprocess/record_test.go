// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// record keeps what all processes log, for a test that fails.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newRecord() *record { return &record{} }

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// of is the log of one process.
func (r *record) of(process string) *slog.Logger {
	level := slog.LevelDebug
	if process == "etcd" {
		level = slog.LevelError
	}
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: level})).With("process", process)
}

// count says how many lines hold all the words.
func (r *record) count(words ...string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for line := range strings.Lines(r.text.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}

func (r *record) show(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.text.String()
	if most := 3_000_000; len(text) > most {
		text = text[len(text)-most:]
	}
	t.Log(text)
}
