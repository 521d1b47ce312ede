// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"
)

// TestRefusedBeforeAnythingStops asks for moves that cannot be: each is refused by the dry run and by the move itself,
// naming object and reason, and the application does not notice.
func TestRefusedBeforeAnythingStops(t *testing.T) {
	s := enter(t)
	s.ballast("node1", "stay", 7004, 20)
	before := s.container("stay", "node1")
	for _, c := range []struct {
		name   string
		target string
		words  []string
		spoil  string // a script on node2
		mend   string
	}{
		{name: "unknown node", target: "nowhere", words: []string{"nowhere"}},
		{
			name: "port taken", target: "node2", words: []string{"7004", "nc", "node2"},
			spoil: "nc -l -k -p 7004 >/dev/null 2>&1 </dev/null & echo $! >/tmp/spoil.pid", mend: "kill $(cat /tmp/spoil.pid)",
		},
		{
			name: "name taken", target: "node2", words: []string{"stay", "name", "node2"},
			spoil: "docker create --name flocker--stay flocker/holder:1", mend: "docker rm flocker--stay",
		},
	} {
		s.scene(c.name, func(s *stage) {
			if c.spoil != "" {
				_, err := s.Exec(s.ctx, "node2", "sh", "-c", c.spoil)
				s.must(err)
				defer func() {
					_, err := s.Exec(s.ctx, "node2", "sh", "-c", c.mend)
					s.must(err)
				}()
			}
			s.refusal("stay", c.target, c.words...)
		})
	}
	if after := s.container("stay", "node1"); after != before {
		s.Errorf("a refused move touched the container: %s, before %s", after, before)
	}
}

// refusal asks for a move with and without --dry-run, which must both say why not.
func (s *stage) refusal(app, node string, words ...string) {
	s.T.Helper()
	for _, flags := range [][]string{{"--dry-run"}, nil} {
		said, err := s.Flocker(s.ctx, append([]string{"move", app, node}, flags...)...)
		if err == nil {
			s.Errorf("move %v succeeded", flags)
			continue
		}
		all := string(said) + err.Error()
		s.Logf("%v: %v", flags, err)
		for _, word := range words {
			if !strings.Contains(all, word) {
				s.Errorf("move %v does not say %q: %s", flags, word, all)
			}
		}
	}
}

// TestImageNowhere moves an application whose image is on neither end any more.
func TestImageNowhere(t *testing.T) {
	s := enter(t)
	const image = "localhost:1/gone:1" // where nothing answers
	_, err := s.Exec(s.ctx, "node1", "docker", "tag", "redis:8", image)
	s.must(err)
	s.deploy("node1", "orphan", `
image: `+image+`
command: `+side(7005)+`
ports: [{internal: 7005, external: 7005}]
volumes: [{dataset: orphan-data, mountpoint: /data}]
`)
	_, err = s.Exec(s.ctx, "node1", "docker", "rmi", "-f", image)
	s.must(err)
	before := s.container("orphan", "node1")
	s.refusal("orphan", "node2", image, "image")
	if after := s.container("orphan", "node1"); after != before {
		s.Errorf("a refused move touched the container: %s, before %s", after, before)
	}
}

// TestForeignUser moves an application whose data a container that is not Flocker's uses.
func TestForeignUser(t *testing.T) {
	s := enter(t)
	s.ballast("node1", "shared", 7006, 1)
	before := s.container("shared", "node1")
	a, err := s.Application(s.ctx, "shared")
	s.must(err)
	source := "/flocker/" + string(a.Volumes[0].Dataset) + "/data"
	_, err = s.Exec(s.ctx, "node1", "docker", "run", "-d", "--name", "intruder", "--network", "none",
		"--mount", "type=bind,src="+source+",dst=/mnt", "redis:8", "sleep", "600")
	s.must(err)
	defer func() {
		_, err := s.Exec(s.ctx, "node1", "docker", "rm", "-f", "intruder")
		s.must(err)
	}()
	s.refusal("shared", "node2", "intruder")
	if after := s.container("shared", "node1"); after != before {
		s.Errorf("a refused move touched the container: %s, before %s", after, before)
	}
}
