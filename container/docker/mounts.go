// SPDX-License-Identifier: Apache-2.0

package docker

import (
	dockermount "github.com/moby/moby/api/types/mount"

	"github.com/flocker-project/flocker/container"
)

// mounts are given as Mounts and never as Binds, which would create a missing folder, and with private propagation, so that
// no mount crosses between the container and the host.
func (e *Engine) mounts(application string, mounts []container.Mount) []dockermount.Mount {
	given := make([]dockermount.Mount, len(mounts))
	for i, m := range mounts {
		given[i] = dockermount.Mount{
			Type:        dockermount.TypeBind,
			Source:      e.sourceLink(application, i),
			Target:      m.Target,
			ReadOnly:    m.ReadOnly,
			BindOptions: &dockermount.BindOptions{Propagation: dockermount.PropagationRPrivate},
		}
	}
	return given
}
