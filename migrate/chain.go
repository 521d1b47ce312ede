// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// links are this node's snapshots that other nodes have too, oldest first. A target
// that has nothing yet gets them before the newest one: they are what it will have in
// common with those nodes, so that a later move there sends only what changed.
func (s *set) links() []cluster.Snapshot {
	desired, observed := s.run.node.View()
	var links []cluster.Snapshot
	for _, mine := range observed.Copies[s.dataset.ID].Snapshots {
		for id, other := range desired.Elsewhere {
			theirs := other.Copies[s.dataset.ID].Snapshots
			if id != s.run.node.ID && common([]cluster.Snapshot{mine}, theirs).Name != "" {
				links = append(links, mine)
				break
			}
		}
	}
	slices.SortFunc(links, func(a, b cluster.Snapshot) int {
		if a.Epoch != b.Epoch {
			return int(a.Epoch) - int(b.Epoch)
		}
		return int(a.Serial) - int(b.Serial)
	})
	return links
}

// copyLinks sends the links to a target without any, and says how many bytes that took.
func (s *set) copyLinks(ctx context.Context) (bytes int64, err error) {
	if s.base.Name != "" || s.whole {
		return 0, nil
	}
	for _, link := range s.links() {
		if err := s.sendOne(ctx, link); err != nil {
			return bytes + s.bytes, err
		}
		bytes += s.bytes
	}
	return bytes, nil
}
