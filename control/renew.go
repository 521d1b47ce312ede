// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"

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
