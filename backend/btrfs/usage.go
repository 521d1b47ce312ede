// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"sync"
	"time"
)

// usage remembers how much heads refer to, where no quota counts it: counting reads the whole tree. What it
// remembers holds as long as the tree is of the same generation; of a tree that keeps changing it is an estimate, and
// counting takes at most a twentieth of the time.
type usage struct {
	mu    sync.Mutex
	known map[uuid]counted
}

type counted struct {
	generation uint64
	bytes      int64
	next       time.Time // not counted again before
}

// recount is how often a changing tree is counted at most.
const recount = 10 * time.Second

func (u *usage) of(fd int, info *subvolInfo) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	begin := time.Now()
	old, ok := u.known[info.uuid]
	if ok && (old.generation == info.generation || begin.Before(old.next)) {
		return old.bytes, nil
	}
	bytes, err := referenced(fd)
	if err != nil {
		return 0, err
	}
	if u.known == nil {
		u.known = map[uuid]counted{}
	}
	took := time.Since(begin)
	u.known[info.uuid] = counted{info.generation, bytes, begin.Add(max(recount, 20*took))}
	return bytes, nil
}

// keep forgets all but those.
func (u *usage) keep(heads map[uuid]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.known {
		if !heads[id] {
			delete(u.known, id)
		}
	}
}
