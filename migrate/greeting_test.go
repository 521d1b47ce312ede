// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// server accepts every connection and gives its answers in turn, the last one for ever; an empty one closes the connection.
type server struct {
	answers []string
	asked   []string
}

func (s *server) SetGate(context.Context, string, bool) error    { return nil }
func (s *server) GateOpen(context.Context, string) (bool, error) { return false, nil }
func (s *server) DialInside(context.Context, string, int) error  { return nil }
func (s *server) TalkInside(_ context.Context, _ string, _ int, talk func(net.Conn) error) error {
	client, conn := net.Pipe()
	defer client.Close()
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	go func() {
		defer conn.Close()
		question := make([]byte, 512)
		n, err := conn.Read(question)
		s.asked = append(s.asked, string(question[:n]))
		if err == nil && answer != "" {
			_, _ = io.WriteString(conn, answer) // a client that has left has heard enough
		}
	}()
	return talk(client)
}

func TestServerThatIsStartingUpIsNotReady(t *testing.T) {
	starting := "E\x00\x00\x00\x50SFATAL\x00VFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"
	for _, c := range []struct {
		name, preset string
		ports        []int
		answers      []string
		asked        int
		ready        bool
	}{
		{"postgres recovers", "postgres", []int{5432}, []string{starting, starting, "R\x00\x00\x00\x17"}, 3, true},
		{"postgres never recovers", "postgres", []int{5432}, []string{starting}, 0, false},
		{"postgres ends", "postgres", []int{5432}, []string{""}, 0, false},
		{"postgres wants another user", "postgres", []int{5432}, []string{"ESFATAL\x00C28000\x00\x00"}, 1, true},
		{"postgres on a port of its own", "postgres", []int{6000}, []string{starting, "R"}, 2, true},
		{"postgres and an exporter", "postgres", []int{9187, 5432}, []string{starting, "R"}, 2, true},
		{"redis loads", "redis", []int{6379}, []string{"-LOADING Redis is loading the dataset in memory\r\n", "+PONG\r\n"}, 2, true},
		{"redis wants a password", "redis", []int{6379}, []string{"-NOAUTH Authentication required.\r\n"}, 1, true},
		{"redis speaks TLS", "redis", []int{6379}, []string{""}, 1, true},
		{"mysql is not asked", "mysql", []int{3306}, []string{"-LOADING"}, 0, true},
		{"nothing is known of it", "", []int{80}, []string{starting}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{answers: slices.Clone(c.answers)}
				n := &migrate.Node{Network: s}
				app := cluster.Application{Name: "db", Hooks: cluster.Hooks{Preset: c.preset}}
				for _, p := range c.ports {
					app.Ports = append(app.Ports, cluster.Port{Internal: p, External: p})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
				defer cancel()
				err := n.Ready(ctx, app, "namespace")
				if (err == nil) != c.ready {
					t.Errorf("Ready() = %v; want ready: %v", err, c.ready)
				}
				if c.ready && len(s.asked) != c.asked {
					t.Errorf("the server was asked %d times; want %d", len(s.asked), c.asked)
				}
				if err != nil && c.answers[0] != "" && !strings.Contains(err.Error(), "starting up") {
					t.Errorf("Ready() = %v; want why", err)
				}
			})
		})
	}
}
