// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/transfer"
)

// ReceiveStream takes a stream of a prepared move in.
func (n *Node) ReceiveStream(ctx context.Context, from cluster.NodeID, h transfer.Header, r io.Reader) (transfer.Reply, error) {
	p := n.preparation(h.Move)
	if h.Kind == transfer.KindImage {
		return transfer.Reply{}, n.receiveImage(ctx, from, h, r)
	}
	if h.Kind != transfer.KindSnapshot {
		return transfer.Reply{}, refused(codeRefused, fmt.Errorf("stream of kind %q: %w", h.Kind, cluster.ErrInvalid))
	}
	if p == nil || p.move.Source != from || p.move.Attempt != h.Attempt {
		return transfer.Reply{}, refused(codeNotPrepared, fmt.Errorf("move %s from node %s is not prepared here", h.Move, from))
	}
	if _, ours := p.datasets[h.Dataset]; !ours {
		return transfer.Reply{}, refused(codeRefused, fmt.Errorf("dataset %s is not of move %s", h.Dataset, h.Move))
	}
	if err := n.checkBase(ctx, p.datasets[h.Dataset], h); err != nil {
		return transfer.Reply{}, err
	}
	announced := func() (s cluster.Snapshot, err error) {
		if s = h.Snapshot; s.ID == "" { // the stream was opened before it was taken
			err = hearAnnounced(r, &s)
		}
		return s, err
	}
	d := p.datasets[h.Dataset]
	to := backend.Arrival{Dataset: d.ID, Base: h.Base, Profile: d.Profile, Rest: h.Rest}
	snap, err := n.pool(d).Receive(ctx, to, announced, r)
	if err != nil {
		return transfer.Reply{}, refused(codeOf(err), err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p.received[h.Dataset] = snap
	return transfer.Reply{Snapshot: snap}, nil
}

// checkBase makes sure that the base here has the content that the sender means.
func (n *Node) checkBase(ctx context.Context, d cluster.Dataset, h transfer.Header) error {
	if h.Base == "" {
		return nil
	}
	held, err := n.look(ctx, d)
	if err != nil {
		return err
	}
	for _, s := range held.Copies[h.Dataset].Snapshots {
		if s.Name == h.Base && s.ID == h.BaseID {
			return nil
		}
	}
	return refused(codeNoBase, fmt.Errorf("dataset %s: base %s: %w", h.Dataset, h.Base, backend.ErrBaseMissing))
}

func (n *Node) receiveImage(ctx context.Context, from cluster.NodeID, h transfer.Header, r io.Reader) error {
	desired, _ := n.View()
	m, known := desired.Moves[h.Move]
	if !known || m.Source != from || m.Target != n.ID || !m.Phase.BeforeHandOver() {
		return refused(codeNotPrepared, fmt.Errorf("move %s from node %s is not known here", h.Move, from))
	}
	if err := n.Engine.Import(ctx, r); err != nil {
		return refused(codeOf(err), fmt.Errorf("import image %s: %w", h.Image, err))
	}
	// The archive's reader may stop before padding at its end.
	_, err := io.Copy(io.Discard, r)
	return err
}

func refused(code string, err error) error {
	return &transfer.Error{Code: code, Message: err.Error()}
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, backend.ErrNoSpace):
		return codeNoSpace
	case errors.Is(err, backend.ErrBaseMissing):
		return codeNoBase
	case errors.Is(err, backend.ErrUnfit):
		return codeUnfit
	}
	return ""
}

// mostAnnounced bounds the description of a snapshot ahead of its bytes.
const mostAnnounced = 16 << 10

// announce says, in a stream that was opened before the snapshot was taken, which one follows.
func announce(w io.Writer, s cluster.Snapshot) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("announce snapshot %s: %w", s.Name, err)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func hearAnnounced(r io.Reader, s *cluster.Snapshot) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > mostAnnounced {
		return refused(codeRefused, fmt.Errorf("announcement of %d bytes: %w", size, cluster.ErrInvalid))
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	name := s.Name
	if err := json.Unmarshal(text, s); err != nil {
		return refused(codeRefused, fmt.Errorf("announcement: %w: %w", cluster.ErrInvalid, err))
	}
	if s.Name != name || s.ID == "" {
		return refused(codeRefused, fmt.Errorf("announcement of snapshot %q in a stream for %s: %w", s.Name, name, cluster.ErrInvalid))
	}
	return nil
}
