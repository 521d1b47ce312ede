// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"log/slog"
	"net"
	"sync"
)

// maxRefusals bounds what strangers can make a process remember.
const maxRefusals = 4096

// Refusals logs who was refused and why, each once, however often he tries.
type Refusals struct {
	log  *slog.Logger
	mu   sync.Mutex
	seen map[string]bool
}

// NewRefusals logs to log.
func NewRefusals(log *slog.Logger) *Refusals {
	return &Refusals{log: log, seen: map[string]bool{}}
}

// Handshake logs a refused connection, once for a host and reason; it fits Listen.
func (r *Refusals) Handshake(from net.Addr, err error) {
	host, _, split := net.SplitHostPort(from.String())
	if split != nil {
		host = from.String()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok { // its own text holds the port, another one each time
		err = op.Err
	}
	r.once(host, err)
}

// Request logs a refused request of someone known, once for a reason, e.g. a node that reports for another.
func (r *Refusals) Request(who Identity, err error) { r.once(who.String(), err) }

func (r *Refusals) once(who string, err error) {
	key := who + "\x00" + err.Error()
	r.mu.Lock()
	if len(r.seen) >= maxRefusals {
		clear(r.seen)
	}
	first := !r.seen[key]
	r.seen[key] = true
	r.mu.Unlock()
	if first {
		r.log.Warn("refused", "who", who, "reason", err.Error())
	}
}
