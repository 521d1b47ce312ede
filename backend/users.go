// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/mount"
)

// A process that starts a container holds copies of all mounts until it has changed to the container's root.
const (
	passing = 300 * time.Millisecond
	again   = 15 * time.Millisecond
)

// Unused is ErrBusy with the names of those who can reach the target, for drivers that own their filesystem.
func Unused(ctx context.Context, target mount.Target) error {
	users, err := users(ctx, target)
	if err != nil || len(users) == 0 {
		return err
	}
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, u.String())
	}
	return fmt.Errorf("%w by %s", ErrBusy, strings.Join(names, ", "))
}

// users looks again for a while where there are only mounts in other namespaces, which mostly pass.
func users(ctx context.Context, target mount.Target) ([]mount.User, error) {
	deadline := time.Now().Add(passing)
	for {
		users, err := mount.Users(ctx, target)
		if err != nil || len(users) == 0 || time.Now().After(deadline) ||
			slices.ContainsFunc(users, func(u mount.User) bool { return !u.Elsewhere }) {
			return users, err
		}
		timer := time.NewTimer(again)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return users, nil
		}
	}
}
