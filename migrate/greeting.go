// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// greeting asks a server whether it serves yet. Some accept connections long before,
// and one that does not come up after that must not have been committed to.
type greeting struct {
	port  int // where the server usually listens; 0 is no greeting
	hello []byte
	// notYet is why the answer, or its end, says that the server does not serve yet. Whatever else is said, it does.
	notYet func(answer []byte, err error) error
}

var errStartingUp = errors.New("the server is still starting up")

// postgresGreeting begins a session, as pg_isready does. A server that recovers refuses it with cannot_connect_now.
func postgresGreeting() greeting {
	const version = 3 << 16
	parameters := "user\x00postgres\x00database\x00postgres\x00\x00"
	hello := binary.BigEndian.AppendUint32(nil, uint32(8+len(parameters)))
	hello = binary.BigEndian.AppendUint32(hello, version)
	return greeting{5432, append(hello, parameters...), func(answer []byte, err error) error {
		if bytes.HasPrefix(answer, []byte("E")) && bytes.Contains(answer, []byte("C57P03\x00")) {
			return errStartingUp
		}
		return err
	}}
}

// redisGreeting is a PING, which a server that loads its data refuses. One that only
// speaks TLS says nothing to it.
func redisGreeting() greeting {
	return greeting{6379, []byte("PING\r\n"), func(answer []byte, _ error) error {
		if bytes.HasPrefix(answer, []byte("-LOADING")) {
			return errStartingUp
		}
		return nil
	}}
}

// greeted asks an application with a preset, on the port that is its server's.
func (n *Node) greeted(ctx context.Context, app cluster.Application, netns string, ports []int) error {
	p, _ := presetNamed(app.Hooks.Preset) // an unknown one was refused in preflight
	port := p.greeting.port
	if len(ports) == 1 {
		port = ports[0]
	}
	if p.greeting.port == 0 || !slices.Contains(ports, port) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	err := n.Network.TalkInside(ctx, netns, port, p.greeting.exchange)
	if err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	return nil
}

// exchange says hello and reads the beginning of the answer.
func (g greeting) exchange(c net.Conn) error {
	if _, err := c.Write(g.hello); err != nil {
		return g.notYet(nil, err)
	}
	answer := make([]byte, 512)
	count, err := c.Read(answer)
	if count > 0 {
		err = nil
	}
	return g.notYet(answer[:count], err)
}
