// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flocker-project/flocker/internal/run"
)

// userChain is where Docker lets others speak before its own rules, whose end is to drop what it did not publish itself.
const userChain = "DOCKER-USER"

// forwardRule lets through what our published ports lead to the bridge, and nothing else.
func (n *Network) forwardRule() []string {
	return []string{"-o", n.bridge, "-m", "conntrack", "--ctstate", "DNAT", "-m", "comment", "--comment", "flocker", "-j", "ACCEPT"}
}

// ensureForward adds the rule. Without Docker's chain nothing drops, and nothing is needed.
func (n *Network) ensureForward(ctx context.Context) error {
	stands, err := n.forwardStands(ctx)
	if err != nil || stands {
		return err
	}
	err = n.iptables(ctx, "-I", n.forwardRule()...)
	if errors.Is(err, errNoChain) {
		n.log.Info("no rule needed for published ports: docker filters nothing here", "chain", userChain)
		return nil
	}
	return err
}

func (n *Network) forwardStands(ctx context.Context) (bool, error) {
	err := n.iptables(ctx, "-C", n.forwardRule()...)
	if failed, ok := errors.AsType[*run.Error](err); ok && failed.ExitCode() == 1 || errors.Is(err, errNoChain) {
		return false, nil
	}
	return err == nil, err
}

func (n *Network) removeForward(ctx context.Context) error {
	for {
		stands, err := n.forwardStands(ctx)
		if err != nil || !stands {
			return err
		}
		if err := n.iptables(ctx, "-D", n.forwardRule()...); err != nil {
			return err
		}
	}
}

// errNoChain says that Docker has made no chain for others.
var errNoChain = errors.New("no chain " + userChain)

func (n *Network) iptables(ctx context.Context, operation string, rule ...string) error {
	args := append([]string{"--wait", "10", operation, userChain}, rule...)
	err := run.Command(ctx, "iptables", args...).Run()
	if errors.Is(err, run.ErrNotInstalled) {
		return fmt.Errorf("let published ports through to bridge %s: %w (package iptables)", n.bridge, err)
	}
	if failed, ok := errors.AsType[*run.Error](err); ok && strings.Contains(failed.Stderr, "No chain") {
		return errNoChain
	}
	if err != nil {
		return fmt.Errorf("let published ports through to bridge %s: %w", n.bridge, err)
	}
	return nil
}
