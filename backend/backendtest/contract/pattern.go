// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// Pattern chooses checks by name, as go test -run does: a regular expression for each level, with slashes between. What
// is below its last level is chosen. An empty one chooses all.
type Pattern []*regexp.Regexp

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	if text == "" {
		return nil, nil
	}
	var p Pattern
	for word := range strings.SplitSeq(text, "/") {
		level, err := regexp.Compile(word)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w: %w", text, cluster.ErrInvalid, err)
		}
		p = append(p, level)
	}
	return p, nil
}

func (p Pattern) matches(name string) bool { return len(p) == 0 || p[0].MatchString(name) }

func (p Pattern) below() Pattern {
	if len(p) == 0 {
		return nil
	}
	return p[1:]
}
