// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/run"
)

// userChain is where Docker lets others speak before its own rules, whose end is to drop what it did not publish itself.
const userChain = "DOCKER-USER"

// forwardRules let through what our published ports lead to the bridge and its answers, which Docker would keep from its other
// networks, and what applications say to each other where bridged frames are filtered. Each goes to the top.
func (n *Network) forwardRules() [][]string {
	end := []string{"-m", "comment", "--comment", "flocker", "-j", "ACCEPT"}
	led := []string{"-m", "conntrack", "--ctstate", "DNAT"}
	return [][]string{
		slices.Concat([]string{"-o", n.bridge}, led, end),
		slices.Concat([]string{"-i", n.bridge}, led, []string{"--ctdir", "REPLY"}, end),
		slices.Concat([]string{"-i", n.bridge, "-o", n.bridge}, end),
	}
}

// ensureForward adds the rules.
func (n *Network) ensureForward(ctx context.Context) error {
	stacks, err := n.stacks()
	if err != nil {
		return err
	}
	for _, s := range stacks {
		if err := n.ensureForwardOf(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// ensureForwardOf adds those of one family. Without Docker's chain nothing drops, and nothing is needed.
func (n *Network) ensureForwardOf(ctx context.Context, s stack) error {
	for _, rule := range n.forwardRules() {
		stands, err := n.forwardStands(ctx, s, rule)
		if err == nil && !stands {
			err = n.iptables(ctx, s, "-I", rule...)
		}
		if errors.Is(err, errNoChain) {
			n.log.Info("no rule needed for published ports: docker filters nothing here", "chain", userChain, "program", s.iptables())
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) forwardStands(ctx context.Context, s stack, rule []string) (bool, error) {
	err := n.iptables(ctx, s, "-C", rule...)
	if failed, ok := errors.AsType[*run.Error](err); ok && failed.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

func (n *Network) removeForward(ctx context.Context, s stack) error {
	for _, rule := range n.forwardRules() {
		for {
			stands, err := n.forwardStands(ctx, s, rule)
			if errors.Is(err, errNoChain) {
				return nil
			}
			if err != nil {
				return err
			}
			if !stands {
				break
			}
			if err := n.iptables(ctx, s, "-D", rule...); err != nil {
				return err
			}
		}
	}
	return nil
}

// errNoChain says that Docker has made no chain for others.
var errNoChain = errors.New("no chain " + userChain)

func (s stack) iptables() string {
	if s.kernel == unix.AF_INET {
		return "iptables"
	}
	return "ip6tables"
}

func (n *Network) iptables(ctx context.Context, s stack, operation string, rule ...string) error {
	args := append([]string{"--wait", "10", operation, userChain}, rule...)
	err := run.Command(ctx, s.iptables(), args...).Run()
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
