// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// Renew says which of its applications a node may let be heard for another while. Who has this answer has a session that lasts for
// SessionTTL from before the question, and without a session alone an application is taken over by itself (rule 8): so it is enough that
// the node's kernel ends what the answer allows before that.
func (s *Service) Renew(ctx context.Context, node cluster.NodeID, r api.RenewRequest) (api.RenewReply, error) {
	var reply api.RenewReply
	session, err := s.liveSession(ctx, node, r.Session)
	if err == nil {
		err = s.store.KeepAlive(ctx, session.Lease)
	}
	if err != nil {
		return reply, fmt.Errorf("renew as node %s: %w", node, err)
	}
	_, err = s.store.Read(ctx, func(tx *store.Tx) error {
		reply = api.RenewReply{}
		// Only now: the session may have ended before the store was asked to prolong it, and the applications may be another's by then.
		if _, err := checkSession(ctx, tx, node, r.Session); err != nil {
			return err
		}
		if meta, err := store.Get(ctx, tx, store.MetaKey); err != nil || meta.Unconfirmed {
			return err
		}
		for _, name := range r.Applications {
			a, err := store.Get(ctx, tx, store.Applications.Under(name))
			if ignoreNotFound(err) != nil {
				return err
			}
			if err == nil && a.Node == node && !a.Deleted {
				reply.Applications = append(reply.Applications, name)
			}
		}
		return nil
	})
	if err != nil {
		return api.RenewReply{}, fmt.Errorf("renew as node %s: %w", node, err)
	}
	return reply, nil
}

func (s *Service) liveSession(ctx context.Context, node cluster.NodeID, id string) (session store.Session, err error) {
	_, err = s.store.Read(ctx, func(tx *store.Tx) (err error) {
		session, err = checkSession(ctx, tx, node, id)
		return err
	})
	return session, err
}

// silenced says whether the applications, and no network storage with them, were all ones that the node confined when it was last heard.
// Without a session their time has passed.
func (d *draft) silenced(ctx context.Context, owner cluster.Node, apps []string, sets []cluster.DatasetID) (bool, error) {
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(owner.ID))
	if ignoreNotFound(err) != nil {
		return false, err
	}
	if seen.BootID != owner.BootID {
		return false, nil // what was said of another boot's kernel
	}
	for _, id := range sets {
		if seen.Back(d.datasets[id].Backend).Capabilities.Attaches {
			return false, nil // what its kernel lets nobody hear it could still write
		}
	}
	for _, name := range apps {
		if d.applications[name].FailOver == nil || !slices.Contains(seen.Confined, name) {
			return false, nil
		}
	}
	return len(apps) > 0, nil
}
