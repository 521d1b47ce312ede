// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"runtime"
	"sync"
)

// life is the life of one process of an agent. Everything through which a process has an effect passes it, before and
// after: from the moment of its death nothing takes effect and no answer arrives, and nothing is cleaned up.
type life struct {
	once   sync.Once
	dead   chan struct{} // closed at its death
	buried chan struct{} // closed when what is left of it may unwind
}

func newLife() *life { return &life{dead: make(chan struct{}), buried: make(chan struct{})} }

// end ends the life, and says whether it had not ended before.
func (l *life) end() (first bool) {
	l.once.Do(func() { close(l.dead); first = true })
	return first
}

func (l *life) over() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// pass returns only while the process lives. What stood still at its death ends without another word once it is buried.
func (l *life) pass() {
	if !l.over() {
		return
	}
	<-l.buried
	runtime.Goexit()
}
