// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// client is one instance of a client of Ceph, as long as it lives: no other ever has its number.
type client struct {
	id      uint64
	address string // with the nonce that makes it this instance's own
}

// instance says that an address is of one client and not of a whole host: without a nonce it would be.
func instance(address string) bool {
	host, nonce, found := strings.Cut(address, "/")
	n, err := strconv.ParseUint(nonce, 10, 32)
	return found && host != "" && err == nil && n > 0
}

var clientForm = regexp.MustCompile(`(?m)authenticate success, global_id (\d+)$`)

// clients are the numbers that the device's client was given: the first only to ask for its configuration, the last to stay.
// Where nothing is written there are none.
func (s *Store) clients(id cluster.DatasetID) ([]uint64, error) {
	text, err := os.ReadFile(filepath.Join(s.devices.Folder(string(id)), logFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log of the device of dataset %s: %w", id, err)
	}
	var numbers []uint64
	for _, match := range clientForm.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseUint(string(match[1]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("log of the device of dataset %s: %w", id, err)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

func (s *Store) isClient(id cluster.DatasetID, number uint64) bool {
	numbers, err := s.clients(id)
	return err == nil && slices.Contains(numbers, number)
}

// identifies is how long a client's log may lag behind it.
const identifies = 20 * time.Second

// identify finds the device's client among those that have the image open, by the number that only it has.
func (s *Store) identify(ctx context.Context, image string, id cluster.DatasetID) (client, error) {
	tick := time.NewTicker(again / 10)
	defer tick.Stop()
	for began := time.Now(); ; {
		numbers, err := s.clients(id)
		if err != nil {
			return client{}, err
		}
		var open struct {
			Watchers []struct {
				Address string
				Client  uint64
			}
		}
		if err := s.ceph.rbdJSON(ctx, &open, "status", s.ceph.image(image)); noImage(err) {
			return client{}, absent(image)
		} else if err != nil {
			return client{}, err
		}
		for _, w := range open.Watchers {
			if slices.Contains(numbers, w.Client) && instance(w.Address) {
				return client{w.Client, w.Address}, nil
			}
		}
		if time.Since(began) > identifies {
			return client{}, fmt.Errorf("%w: of the clients %v that have volume %s open, none is this device's %v", backend.ErrTemporary, open.Watchers, image, numbers)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return client{}, fmt.Errorf("find the client of volume %s: %w", image, ctx.Err())
		}
	}
}
