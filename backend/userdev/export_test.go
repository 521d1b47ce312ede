// SPDX-License-Identifier: Apache-2.0

package userdev

import "time"

// ReadyFor sets how long a server waits for its device.
func (d *Devices) ReadyFor(t time.Duration) { d.readyFor = t }
