// SPDX-License-Identifier: Apache-2.0

package dockerplugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

const (
	// busyFor is how long a volume is waited for that is in use elsewhere: its last container may just have ended.
	busyFor   = 4 * time.Second
	busyAgain = 200 * time.Millisecond
	// bornWithin is how long a new volume's owner gets to make it before it is asked to hand it over.
	bornWithin = 15 * time.Second
)

// mount makes a volume usable on this node and holds it here: for the container, so that nobody takes it away.
func (p *Plugin) mount(ctx context.Context, q request) (reply, error) {
	h := p.hold(q.Name)
	if err := h.lock(ctx); err != nil {
		return reply{}, err
	}
	defer h.unlock()
	anew := p.remember(h, q.ID)
	at, err := p.place(ctx, h, q.Name)
	if err != nil && anew {
		p.forget(h, q.ID) // Docker does not unmount what it could not mount
	}
	if err != nil {
		return reply{}, err
	}
	p.Log.Info("volume mounted", "volume", q.Name, "id", q.ID, "at", at)
	return reply{Mountpoint: at}, nil
}

func (p *Plugin) place(ctx context.Context, h *hold, name string) (string, error) {
	there, err := ask(ctx, p.Control.Volume, name)
	if err != nil && away(err) {
		return p.alone(h, name, err)
	}
	if err != nil {
		return "", err
	}
	if there.Owner != p.Node {
		if err := p.bring(ctx, name, there); err != nil {
			return "", err
		}
	}
	lease, err := ask(ctx, p.Control.HoldVolume, name)
	if err != nil {
		return "", err
	}
	p.sure(h, true)
	return p.mounted(ctx, lease)
}

// alone is where a volume is that this node can go on using by itself: it is the owner, holds the volume, and has it mounted since.
func (p *Plugin) alone(h *hold, name string, cause error) (string, error) {
	desired, observed, err := p.known()
	if err != nil {
		return "", errors.Join(cause, err)
	}
	d, err := find(desired, name)
	if err != nil {
		return "", errors.Join(cause, err)
	}
	lease, at := desired.Leases[d.ID], p.mountpoint(d, observed)
	if !p.isOurs(&lease) || !p.isSure(h) || d.Move != "" || at == "" {
		return "", fmt.Errorf("until then only volumes can be mounted that this node has in use: %w", cause)
	}
	return at, nil
}

// bring moves a volume that nobody uses to this node.
func (p *Plugin) bring(ctx context.Context, name string, there api.DatasetInfo) error {
	if !there.Born {
		wait, cancel := context.WithTimeout(ctx, bornWithin)
		// Where its owner does not make it, the move below says why not.
		_ = p.until(wait, func(desired cluster.Desired, _ cluster.Observed) (bool, error) {
			return desired.Datasets[there.ID].Born, nil
		})
		cancel()
	}
	for began := time.Now(); ; {
		m, err := ask(ctx, p.Control.MoveVolume, name)
		under, moving := api.CurrentMove(err)
		switch {
		case err == nil:
			return p.follow(ctx, name, m)
		case errors.Is(err, cluster.ErrExists):
			return nil // it has come here since
		case moving && under.Target == p.Node && slices.Contains(under.Datasets, there.ID):
			return p.follow(ctx, name, under)
		case moving || !errors.Is(err, cluster.ErrConflict) || time.Since(began) > busyFor:
			return err
		}
		if err := pause(ctx, busyAgain); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow waits for the end of a move to this node, and tells of its phases.
func (p *Plugin) follow(ctx context.Context, name string, m cluster.Move) error {
	phase, source := cluster.MovePhase(""), string(m.Source)
	err := p.until(ctx, func(desired cluster.Desired, _ cluster.Observed) (bool, error) {
		now, there := desired.Moves[m.ID]
		source = desired.Nodes[m.Source].Name
		switch {
		case !there:
			return desired.Revision >= m.Revision, nil // it has ended, and is not told of any more
		case now.Phase != phase:
			phase = now.Phase
			p.Log.Info("volume on its way to this node", "volume", name, "move", m.ID, "from", source, "phase", phase)
		}
		if phase == cluster.MoveAborted || phase == cluster.MoveTakenBack {
			return true, fmt.Errorf("its move from node %s is %s: %s: %w", source, phase, now.Reason, cluster.ErrConflict)
		}
		return phase.Terminal(), nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("it is still on its way from node %s (move %s is %s) and goes on; start the container again later: %w", source, m.ID, phase, err)
	}
	return err
}

// mounted waits until the volume that this node holds is mounted here.
func (p *Plugin) mounted(ctx context.Context, lease cluster.Lease) (at string, err error) {
	why := ""
	err = p.until(ctx, func(desired cluster.Desired, observed cluster.Observed) (bool, error) {
		if desired.Revision < lease.Revision {
			return false, nil
		}
		why = observed.Status["dataset/"+string(lease.Dataset)].Reason
		at = p.mountpoint(desired.Datasets[lease.Dataset], observed)
		return at != "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("it is not mounted on this node yet: %s: %w", why, err)
	}
	return at, err
}
