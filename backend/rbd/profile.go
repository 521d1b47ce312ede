// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"fmt"
	"regexp"

	"github.com/flocker-project/flocker/backend"
)

// Options of a profile, beside those of all network storage.
const (
	dataPoolOption   = "data_pool"
	objectSizeOption = "object_size"
)

var objectSizes = regexp.MustCompile(`^((4|8|16|32|64|128|256|512)K|(1|2|4|8|16|32)M)$`)

// ProfileOptions are what a profile may choose of an image when it is made.
func ProfileOptions() []backend.ProfileOption {
	return []backend.ProfileOption{
		{Name: dataPoolOption, About: "Ceph's pool for the image's data, such as one on other disks or an erasure-coded one", Check: func(value string) error {
			if poolForm.MatchString(value) {
				return nil
			}
			return fmt.Errorf("%.80q is no pool: letters, digits, dots, dashes and underscores make one", value)
		}},
		{Name: objectSizeOption, About: "the size of the objects that the image is cut into, 4K to 32M", Check: func(value string) error {
			if objectSizes.MatchString(value) {
				return nil
			}
			return fmt.Errorf("%.80q is no power of two from 4K to 32M", value)
		}},
	}
}

// choices are what `rbd create` is told for a profile.
func (s *Store) choices(profile string) (flags []string) {
	chosen := s.profiles[profile]
	for _, o := range []struct{ option, flag string }{{dataPoolOption, "--data-pool"}, {objectSizeOption, "--object-size"}} {
		if value := chosen[o.option]; value != "" {
			flags = append(flags, o.flag, value)
		}
	}
	return flags
}
