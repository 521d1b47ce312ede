// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// ahead are this node's snapshots that the target gets before the newest one, oldest first: those that somebody asked to keep
// and that it lacks, and, where it has nothing yet, the links: those that other nodes have too. A link is what the target will have in
// common with those nodes, so that a later move there sends only what changed.
func (s *set) ahead() []cluster.Snapshot {
	var list []cluster.Snapshot
	for _, mine := range s.here {
		there := common([]cluster.Snapshot{mine}, s.there).Name != ""
		if !there && (s.dataset.Keeps(mine) || s.base.Name == "" && s.links(mine)) {
			list = append(list, mine)
		}
	}
	backend.SortSnapshots(list)
	return list
}

// links says whether another node has the snapshot too.
func (s *set) links(mine cluster.Snapshot) bool {
	desired, _ := s.run.node.View()
	for id, other := range desired.Elsewhere {
		if id != s.run.node.ID && common([]cluster.Snapshot{mine}, other.Copies[s.dataset.ID].Snapshots).Name != "" {
			return true
		}
	}
	return false
}

// copyAhead sends what goes ahead, each as a difference to the newest before it that the target has, and says how many bytes
// that took. Afterwards the base is the newest that both have, as before.
func (s *set) copyAhead(ctx context.Context) (bytes int64, err error) {
	if s.whole {
		return 0, nil
	}
	list := s.ahead()
	if len(list) == 0 {
		return 0, nil
	}
	defer func() { s.base = common(s.here, s.there) }()
	for _, one := range list {
		s.base = s.commonBefore(one)
		err := s.sendFit(ctx, one)
		if unfit(err) { // see copy
			bytes += s.bytes
			s.base = cluster.Snapshot{}
			err = s.sendOne(ctx, one)
		}
		bytes += s.bytes
		if err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}
