// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"fmt"
	"time"
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

// taken is when a snapshot was taken, on whichever node.
func (i *subvolInfo) taken() time.Time {
	at := i.otime
	if !i.receivedUUID.isZero() && i.stime != (timespec{}) { // from an earlier version it came without its time
		at = i.stime
	}
	return time.Unix(int64(at.sec), int64(at.nsec)).UTC()
}

func timespecOf(t time.Time) timespec {
	if t.IsZero() {
		return timespec{}
	}
	return timespec{sec: uint64(t.Unix()), nsec: uint32(t.Nanosecond())}
}

func (i *subvolInfo) readOnly() bool { return i.flags&1 != 0 }
