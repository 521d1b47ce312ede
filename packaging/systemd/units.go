// SPDX-License-Identifier: Apache-2.0

// Package systemd holds the units of Flocker's services.
package systemd

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.service
var units embed.FS

const program = "/usr/bin/flocker"

// Unit is the text of NAME.service that starts the given program with more arguments than the packaged one has.
func Unit(name, executable string, args ...string) (string, error) {
	text, err := units.ReadFile(name + ".service")
	if err != nil {
		return "", fmt.Errorf("unit of %s: %w", name, err)
	}
	before, after, ok := strings.Cut(string(text), "ExecStart="+program)
	command, rest, whole := strings.Cut(after, "\n")
	if !ok || !whole {
		return "", fmt.Errorf("unit of %s: it starts no %s", name, program)
	}
	words := append([]string{executable}, strings.Fields(command)...)
	for i, word := range append(words, args...) {
		if i == 0 {
			before += "ExecStart="
		} else {
			before += " "
		}
		before += quote(word)
	}
	return before + "\n" + rest, nil
}

// quote writes one word of a command line as systemd reads it.
func quote(word string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(word)
	if escaped == word && !strings.ContainsAny(word, " \t';") {
		return word
	}
	return `"` + escaped + `"`
}
