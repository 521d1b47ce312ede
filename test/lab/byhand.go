// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// ByHand is a container that Flocker knows nothing of, with its data in a folder of a
// node, moved as one does by hand: stop, copy everything, start.
type ByHand struct {
	Lab   *Lab
	Name  string
	Image string
	Args  []string // of docker run, before the image
	Port  int      // on the nodes
	Inner int      // in the container
	Data  string   // where the container wants the folder
}

const copyPort = "9411"

func (b ByHand) folder() string { return "/var/lib/flocker/by-hand/" + b.Name }

// Start starts the container on a node.
func (b ByHand) Start(ctx context.Context, node string) error {
	if _, err := b.Lab.Exec(ctx, node, "mkdir", "-p", b.folder()); err != nil {
		return err
	}
	args := append([]string{
		"docker", "run", "-d", "--name", b.Name,
		"-p", fmt.Sprintf("%d:%d", b.Port, b.Inner), "-v", b.folder() + ":" + b.Data,
	}, b.Args...)
	_, err := b.Lab.Exec(ctx, node, append(args, b.Image)...)
	return err
}

// Move stops the container, copies its folder through a bare connection between the nodes, and starts it there.
// The image must be on both.
func (b ByHand) Move(ctx context.Context, from, to string) error {
	if _, err := b.Lab.Exec(ctx, to, "mkdir", "-p", b.folder()); err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() {
		_, err := b.Lab.Exec(ctx, to, "sh", "-c", "nc -N -l "+copyPort+" | tar -C "+b.folder()+" -xf -")
		received <- err
	}()
	if _, err := b.Lab.Exec(ctx, from, "docker", "stop", "-t", "60", b.Name); err != nil {
		return err
	}
	address := b.Lab.Address(to)
	send := "tar -C " + b.folder() + " -cf - . | nc -N " + address + " " + copyPort
	if _, err := b.Lab.Exec(ctx, from, "sh", "-c", send); err != nil {
		return err
	}
	if err := <-received; err != nil {
		return err
	}
	return b.Start(ctx, to)
}

// Remove takes the container and its folder away from a node.
func (b ByHand) Remove(ctx context.Context, node string) error {
	_, err := b.Lab.Exec(ctx, node, "sh", "-c", "docker rm -f "+b.Name+" >/dev/null 2>&1; rm -rf "+b.folder())
	return err
}

// Addresses are where the container may be reached.
func (b ByHand) Addresses(nodes ...string) []string {
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = net.JoinHostPort(b.Lab.Address(n), strconv.Itoa(b.Port))
	}
	return all
}
