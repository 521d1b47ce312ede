// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// OpenSession makes a node alive. A second session is refused while the first lives;
// an agent that was restarted in the same boot takes over from its dead process.
func (s *Service) OpenSession(ctx context.Context, node cluster.NodeID, r api.SessionRequest) (api.Session, error) {
	if err := checkSessionRequest(r); err != nil {
		return api.Session{}, fmt.Errorf("open a session of node %s: %w", node, err)
	}
	lease, err := s.store.Grant(ctx, SessionTTL)
	if err != nil {
		return api.Session{}, fmt.Errorf("open a session of node %s: %w", node, err)
	}
	var session, replaced store.Session
	_, err = s.store.Update(ctx, func(tx *store.Tx) error {
		replaced = store.Session{}
		first, err := store.Get(ctx, tx, store.Sessions.Under(string(node)))
		switch {
		case errors.Is(err, cluster.ErrNotFound):
		case err != nil:
			return err
		case first.BootID == r.BootID && first.Process == r.Process:
			session = first // the answer to the first request was lost
			return nil
		default:
			if err := s.mayReplace(first, r); err != nil {
				return err
			}
			replaced = first
		}
		session = store.Session{
			ID: strconv.FormatInt(lease, 16), Node: node, BootID: r.BootID, Process: r.Process, Lease: lease, Opened: s.now(),
		}
		if err := s.registerNode(ctx, tx, node, r); err != nil {
			return err
		}
		return store.PutLeased(tx, store.Sessions.Under(string(node)), session, lease)
	})
	if err != nil || session.Lease != lease {
		err = errors.Join(err, s.store.Revoke(ctx, lease))
	}
	if err == nil && replaced.ID != "" {
		err = s.store.Revoke(ctx, replaced.Lease)
	}
	if err != nil {
		return api.Session{}, fmt.Errorf("open a session of node %s: %w", node, err)
	}
	meta, err := s.incarnation(ctx)
	return api.Session{ID: session.ID, Node: node, Incarnation: meta.Incarnation, TTL: cluster.Duration(SessionTTL)}, err
}

func checkSessionRequest(r api.SessionRequest) error {
	switch {
	case r.BootID == "":
		return &cluster.FieldError{Field: "boot_id", Problem: "is missing"}
	case r.Process == "":
		return &cluster.FieldError{Field: "process", Problem: "is missing"}
	case r.Protocol < 1:
		return &cluster.FieldError{Field: "protocol", Problem: "is missing"}
	case net.ParseIP(r.Address) == nil:
		return &cluster.FieldError{Field: "address", Problem: fmt.Sprintf("%q is not an IP address", r.Address)}
	}
	if _, _, err := net.SplitHostPort(r.AgentAddress); err != nil {
		return &cluster.FieldError{Field: "agent_address", Problem: fmt.Sprintf("%q is not host:port", r.AgentAddress)}
	}
	return nil
}

// mayReplace says whether the first session's process is known to be dead: no
// stream of it is connected, and it is of this very boot.
func (s *Service) mayReplace(first store.Session, r api.SessionRequest) error {
	if first.BootID == r.BootID && !s.holds(first) {
		return nil
	}
	why := "that agent is connected"
	if !s.holds(first) {
		why = fmt.Sprintf("it was opened in another boot and ends within %s", SessionTTL)
	}
	return fmt.Errorf("session %s of process %s lives, opened at %s: %s: %w",
		first.ID, first.Process, first.Opened.Format(time.RFC3339), why, cluster.ErrConflict)
}

// holds says whether some control process may hold the session's stream. What another
// process held is over when this one has the embedded store.
func (s *Service) holds(session store.Session) bool {
	if session.Holder == "" || session.Holder == s.instance {
		return s.attached(session)
	}
	return !s.store.Embedded()
}

func (s *Service) registerNode(ctx context.Context, tx *store.Tx, id cluster.NodeID, r api.SessionRequest) error {
	key := store.Nodes.Under(string(id))
	n, err := store.Get(ctx, tx, key)
	if errors.Is(err, cluster.ErrNotFound) {
		n, err = cluster.Node{ID: id, Registered: s.now()}, nil
	}
	if err != nil {
		return err
	}
	if n.Fence != nil {
		if n.Fence.BootID == r.BootID {
			return fmt.Errorf("%s said at %s that this boot (%s) is over; reboot the node: %w",
				n.Fence.By, n.Fence.At.Format(time.RFC3339), r.BootID, cluster.ErrForbidden)
		}
		n.Fence = nil
	}
	n.Name, n.Address, n.AgentAddress = r.Name, r.Address, r.AgentAddress
	if n.Name == "" {
		n.Name = string(id)
	}
	if n.ClusterAddress == "" {
		free, err := store.NewAllocator(ctx, tx)
		if err != nil {
			return err
		}
		if n.ClusterAddress, err = free.Take(ctx, store.NodeHolder(id)); err != nil {
			return err
		}
	}
	n.Version, n.Protocol, n.BootID, n.LastSeen = r.Version, r.Protocol, r.BootID, s.now()
	return store.Put(tx, key, n)
}

// checkSession is the comparison that every write of a node carries: the session is its live one.
func checkSession(ctx context.Context, tx *store.Tx, node cluster.NodeID, id string) (store.Session, error) {
	session, err := store.Get(ctx, tx, store.Sessions.Under(string(node)))
	if errors.Is(err, cluster.ErrNotFound) || (err == nil && session.ID != id) {
		return session, fmt.Errorf("session %q of node %s is over: %w", id, node, cluster.ErrPrecondition)
	}
	return session, err
}

// endSession runs when a session's key is gone: it keeps when the node was last heard.
func (s *Service) endSession(ctx context.Context, node cluster.NodeID) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := store.Get(ctx, tx, store.Sessions.Under(string(node))); !errors.Is(err, cluster.ErrNotFound) {
			return err
		}
		n, err := store.Get(ctx, tx, store.Nodes.Under(string(node)))
		if errors.Is(err, cluster.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		n.LastSeen = s.now().Add(-SessionTTL) // the last word was that long ago, or longer
		return store.Put(tx, store.Nodes.Under(string(node)), n)
	})
	return err
}
