// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// blocked is how long a client stays on the blocklist: longer than any machine is frozen and comes back. Ceph's own hour would let it
// write again.
const blocked = 10 * 365 * 24 * time.Hour

// Evict puts the client through which the other machine writes on Ceph's blocklist, and then takes the lock away.
func (s *Store) Evict(ctx context.Context, v backend.Volume, machine string) error {
	if machine == "" || machine == s.machine {
		return fmt.Errorf("evict %q: %w: it is not another machine", machine, cluster.ErrInvalid)
	}
	if _, ours := s.datasetOf(v.ID); !ours {
		return nil
	}
	h, err := s.holderOf(ctx, v.ID)
	if errors.Is(err, backend.ErrNotFound) || err == nil && (h == nil || h.machine != machine && h.Locker != machine) {
		return nil
	}
	if err != nil {
		return err
	}
	if h.machine == "" {
		return busy(v.ID, h) // an attachment that we did not make is reported, never removed
	}
	return s.fence(ctx, v.ID, h)
}

// Fences says that Evict is enough even where the machine lives.
func (s *Store) Fences() bool { return true }

// fence makes sure that a client can write no more, and gives up its lock after that.
func (s *Store) fence(ctx context.Context, image string, h *holder) error {
	seconds := strconv.Itoa(int(blocked.Seconds()))
	if _, err := s.ceph.run(ctx, answers, "ceph", "osd", "blocklist", "add", h.client.address, seconds); err != nil {
		return fmt.Errorf("fence %s from volume %s: %w", h.machine, image, err)
	}
	is, err := s.isBlocked(ctx, h.client.address)
	if err != nil {
		return fmt.Errorf("fence %s from volume %s: %w", h.machine, image, err)
	}
	if !is {
		return fmt.Errorf("fence %s from volume %s: %s is not on Ceph's blocklist after it was put there", h.machine, image, h.client.address)
	}
	s.log.InfoContext(ctx, "client put on the blocklist", "volume", image, "machine", h.machine, "address", h.client.address)
	return s.release(ctx, image, h)
}

func (s *Store) isBlocked(ctx context.Context, address string) (bool, error) {
	out, err := s.ceph.run(ctx, answers, "ceph", "osd", "blocklist", "ls", "--format", "json")
	if err != nil {
		return false, err
	}
	var entries []struct{ Addr string }
	// A second list, of ranges of addresses, follows the first.
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&entries); err != nil {
		return false, fmt.Errorf("what ceph osd blocklist says: %w", err)
	}
	return slices.ContainsFunc(entries, func(e struct{ Addr string }) bool { return e.Addr == address }), nil
}
