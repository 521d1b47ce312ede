// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"fmt"
)

// uuid is a subvolume's.
type uuid [16]byte

func (u uuid) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func (u uuid) isZero() bool { return u == uuid{} }

// content is the identity that a subvolume's content has on every node that it was sent to.
func (i *subvolInfo) content() uuid {
	if i.receivedUUID.isZero() {
		return i.uuid
	}
	return i.receivedUUID
}

func (i *subvolInfo) readOnly() bool { return i.flags&1 != 0 }
