// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"hash"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// checksumSize is the length of the stream's checksum: xxHash64, which guards the
// resumption; against people there is TLS.
const checksumSize = 8

func newChecksum() hash.Hash { return xxhash.New() }

// windowLimit bounds what is kept for sending again; it is also what may be under
// way, so it covers links of 1 Gbit/s with round trips of 100 ms.
const windowLimit = 16 << 20

// window keeps what was written and not yet acknowledged: a ring that grows up to
// its limit. Everything waits on one condition, since few wait and all are short.
type window struct {
	mu   sync.Mutex
	cond *sync.Cond

	ring  []byte
	base  int64 // acknowledged before here
	sent  int64 // given to the present connection before here
	end   int64 // written before here
	sum   hash.Hash
	ended bool // the writer is done
	// err ends the stream for the writer, for good.
	err error
}

func newWindow() *window {
	w := &window{ring: make([]byte, 256<<10), sum: newChecksum()}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// write takes p in, waiting for room.
func (w *window) write(p []byte) (int, error) {
	done := 0
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(p) > 0 {
		for w.err == nil && !w.ended && w.room() == 0 {
			w.cond.Wait()
		}
		if w.err != nil {
			return done, w.err
		}
		if w.ended {
			return done, ErrAborted
		}
		n := min(len(p), w.room())
		w.put(p[:n])
		p, done = p[n:], done+n
		w.cond.Broadcast()
	}
	return done, nil
}

// room is how much can be written now; it grows the ring where that is allowed.
func (w *window) room() int {
	used := int(w.end - w.base)
	if used == len(w.ring) && len(w.ring) < windowLimit {
		bigger := make([]byte, min(4*len(w.ring), windowLimit))
		for off := w.base; off < w.end; {
			from := w.piece(w.ring, off, w.end)
			off += int64(copy(w.piece(bigger, off, w.end), from))
		}
		w.ring = bigger
	}
	return len(w.ring) - used
}

// piece is the part of the ring from off on, up to end or the ring's own end.
func (w *window) piece(ring []byte, off, end int64) []byte {
	at := int(off % int64(len(ring)))
	return ring[at:min(len(ring), at+int(end-off))]
}

func (w *window) put(p []byte) {
	w.sum.Write(p) // never fails, by hash.Hash's promise
	for len(p) > 0 {
		n := copy(w.piece(w.ring, w.end, w.end+int64(len(p))), p)
		p, w.end = p[n:], w.end+int64(n)
	}
}

// take copies the next bytes to be sent into b and says where they belong. It waits
// until there are some, or the writer is done (n = 0, ended), or stop answers true.
func (w *window) take(b []byte, stop func() bool) (offset int64, n int, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && !stop() && w.sent == w.end && !w.ended {
		w.cond.Wait()
	}
	if w.err != nil || stop() {
		return 0, 0, false
	}
	offset = w.sent
	for n < len(b) && w.sent < w.end {
		c := copy(b[n:], w.piece(w.ring, w.sent, w.end))
		n, w.sent = n+c, w.sent+int64(c)
	}
	return offset, n, n == 0 && w.ended
}

// await returns when stop answers true or the stream has failed.
func (w *window) await(stop func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && !stop() {
		w.cond.Wait()
	}
}

// acknowledge forgets what the receiver has. Acknowledgements may overtake each other.
func (w *window) acknowledge(offset int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if offset > w.sent {
		return false
	}
	w.base = max(w.base, offset)
	w.cond.Broadcast()
	return true
}

// rewind makes a new connection go on from offset.
func (w *window) rewind(offset int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if offset < w.base || offset > w.end {
		return false
	}
	w.base, w.sent = offset, offset
	w.cond.Broadcast()
	return true
}

// finish says that nothing more will be written.
func (w *window) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.cond.Broadcast()
}

// fail ends the stream; the first error stays.
func (w *window) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.cond.Broadcast()
}

func (w *window) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cond.Broadcast()
}

// total is the stream's length and checksum, once it has ended.
func (w *window) total() (int64, []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.end, w.sum.Sum(nil)
}

func (w *window) acked() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.base
}
