// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/internal/run"
)

// secretBytes is the length of an export's key.
const secretBytes = 16

// Attach exports the volume to one machine and returns the way to it; that of its attachment, where it has one already.
// Attached to another machine is ErrBusy with that machine's name.
func (s *Store) Attach(ctx context.Context, id, machine string) (client.Export, error) {
	v, err := s.hold(id)
	if err != nil {
		return client.Export{}, err
	}
	defer v.mu.Unlock()
	if v.Machine != "" && v.Machine != machine {
		return client.Export{}, fmt.Errorf("volume %s: %w: attached to %s", id, backend.ErrBusy, v.Machine)
	}
	if v.Export == nil {
		if err := s.begin(ctx, v, machine); err != nil {
			return client.Export{}, fmt.Errorf("attach volume %s: %w", id, err)
		}
	}
	if err := s.serve(ctx, v); err != nil {
		return client.Export{}, fmt.Errorf("export volume %s: %w", id, err)
	}
	w := s.way(v)
	return client.Export{Attachment: v.Attachment, Port: w.Port, User: w.user(), Secret: w.Secret}, nil
}

// begin writes down that the machine has the volume, before anything is exported to it.
func (s *Store) begin(ctx context.Context, v *volume, machine string) error {
	if err := s.end(ctx, v); err != nil {
		return err
	}
	secret := make([]byte, secretBytes)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	port, err := s.takePort(ctx)
	if err != nil {
		return err
	}
	next := v.record
	next.Machine, next.Attachment = machine, v.Attachment+1
	next.Export = &export{Port: port, Secret: hex.EncodeToString(secret), Boot: s.BootID}
	return s.write(v, next)
}

// write makes a record the volume's, on disk first. A port that no record has any more is free.
func (s *Store) write(v *volume, next record) error {
	err := next.write(s.path(v.ID))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if next.Export != nil && (v.Export == nil || v.Export.Port != next.Export.Port) {
			delete(s.ports, next.Export.Port)
		}
		return sentinel(err)
	}
	if v.Export != nil && (next.Export == nil || next.Export.Port != v.Export.Port) {
		delete(s.ports, v.Export.Port)
	}
	v.record = next
	return nil
}

func (s *Store) takePort(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	port, err := freePort(ctx, s.Host, s.FirstPort, s.LastPort, s.ports)
	if err == nil {
		s.ports[port] = true
	}
	return port, err
}

func (s *Store) way(v *volume) way {
	return way{dir: s.path(v.ID), id: v.ID, number: v.Attachment, host: s.Host, export: *v.Export}
}

// serve lets the export's process run.
func (s *Store) serve(ctx context.Context, v *volume) error {
	w := s.way(v)
	running, err := w.processes()
	if err != nil || len(running) > 0 {
		return err
	}
	return w.start(ctx)
}

// Detach ends an attachment. When it returns, nothing can be written through its export any more, and what was written is on
// disk. An attachment that has ended is success.
func (s *Store) Detach(ctx context.Context, id string, r client.DetachRequest) error {
	v, err := s.hold(id)
	if err != nil {
		if errors.Is(err, backend.ErrNotFound) {
			return nil
		}
		return err
	}
	defer v.mu.Unlock()
	if v.Machine != r.Machine || v.Attachment != r.Attachment {
		return nil
	}
	if err := s.end(ctx, v); err != nil {
		return fmt.Errorf("detach volume %s from %s: %w", id, r.Machine, err)
	}
	return nil
}

// end kills the export's process, and says only then that no machine has the volume.
func (s *Store) end(ctx context.Context, v *volume) error {
	next := v.record
	next.Machine, next.Export = "", nil
	if v.Export == nil { // void after a reboot, or not attached
		return s.write(v, next)
	}
	w := s.way(v)
	if err := w.kill(ctx); err != nil {
		return err
	}
	if err := flush(w.data()); err != nil {
		return err
	}
	if err := s.write(v, next); err != nil {
		return err
	}
	return forget(w)
}

// forget removes what the attachment's process leaves.
func forget(w way) error {
	if err := os.Remove(w.secretFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Grow makes a volume at least as large. Its export begins anew, because a client learns the size when it connects.
func (s *Store) Grow(ctx context.Context, id string, size int64) error {
	v, err := s.hold(id)
	if err != nil {
		return err
	}
	defer v.mu.Unlock()
	if size > v.Size {
		if err := s.grow(v, size); err != nil {
			return fmt.Errorf("enlarge volume %s: %w", id, sentinel(err))
		}
	}
	if v.Export == nil {
		return nil
	}
	if err := s.way(v).kill(ctx); err != nil {
		return fmt.Errorf("enlarge volume %s: %w", id, err)
	}
	if err := s.serve(ctx, v); err != nil {
		return fmt.Errorf("export volume %s: %w", id, err)
	}
	return nil
}

func (s *Store) grow(v *volume, size int64) error {
	f, err := os.OpenFile(filepath.Join(s.path(v.ID), dataFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
		return err
	}
	next := v.record
	next.Size = size
	return s.write(v, next)
}

// resume exports again what was exported in this boot, and ends what a record knows nothing of. A volume that cannot be exported
// holds up no other; its machine is told when it attaches again.
func (s *Store) resume(ctx context.Context) error {
	known := map[string]bool{}
	for _, v := range s.volumes {
		if v.Export == nil {
			continue
		}
		if v.Export.Boot != s.BootID {
			if err := s.void(v); err != nil {
				return fmt.Errorf("end the export of volume %s of another boot: %w", v.ID, err)
			}
			continue
		}
		known[s.way(v).mark()] = true
		if err := s.serve(ctx, v); err != nil {
			s.Log.Error("export a volume again", "volume", v.ID, "machine", v.Machine, "error", err)
		}
	}
	return s.sweep(ctx, known)
}

// void ends an attachment's export and leaves the volume with its machine. The attachment of now, to which there is no way yet, is
// another one, by which that machine knows.
func (s *Store) void(v *volume) error {
	w, next := s.way(v), v.record
	next.Attachment++
	next.Export = nil
	if err := s.write(v, next); err != nil {
		return err
	}
	return forget(w)
}

// sweep ends the processes of exports in this folder that no record has.
func (s *Store) sweep(ctx context.Context, known map[string]bool) error {
	ours := markPrefix + s.path(volumePrefix)
	strays, err := run.Processes(func(args []string) bool {
		return filepath.Base(args[0]) == exportProgram && slices.ContainsFunc(args, func(a string) bool {
			return strings.HasPrefix(a, ours) && !known[a]
		})
	})
	if err != nil {
		return err
	}
	for _, p := range strays {
		s.Log.Warn("end an export that no record has", "pid", p.Pid)
		if err := p.End(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}
