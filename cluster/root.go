// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// defaultMode is that of a new dataset's folder.
const defaultMode = "0755"

// Root is whose the folder of a new dataset is, and who may what in it. The zero value is root's, 0755. It counts when the
// dataset is made; afterwards the folder is its users'.
type Root struct {
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
	Mode string `json:"mode,omitempty" doc:"octal, such as 0750; empty is 0755"`
}

func modes() *regexp.Regexp { return regexp.MustCompile(`^[0-7]{3,4}$`) }

// noID stands for no change in chown(2), so nobody has it.
const noID = 1<<32 - 1

func (r Root) problem() (field, problem string) {
	switch {
	case r.UID == noID:
		return "uid", fmt.Sprintf("%d is nobody's", r.UID)
	case r.GID == noID:
		return "gid", fmt.Sprintf("%d is nobody's", r.GID)
	case r.Mode != "" && !modes().MatchString(r.Mode):
		return "mode", fmt.Sprintf("%.20q is not octal with 3 or 4 digits, such as 0750", r.Mode)
	}
	return "", ""
}

// Permissions is Mode as a number, in the form of chmod(2).
func (r Root) Permissions() (uint32, error) {
	if field, problem := r.problem(); problem != "" {
		return 0, &FieldError{Field: field, Problem: problem}
	}
	bits, err := strconv.ParseUint(cmp.Or(r.Mode, defaultMode), 8, 32)
	if err != nil {
		return 0, fmt.Errorf("mode: %w", err)
	}
	return uint32(bits), nil
}
