// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"
)

// unable runs a script on a node, which must fail and say all of the words.
func (s *stage) unable(node, script string, words ...string) {
	s.T.Helper()
	out, err := s.Exec(s.ctx, node, "sh", "-c", script)
	if err == nil {
		s.Fatalf("%s succeeded on %s: %s", script, node, out)
	}
	all := string(out) + err.Error()
	s.Logf("%s: %s", script, all)
	for _, word := range words {
		if !strings.Contains(all, word) {
			s.Errorf("%s does not say %q: %s", script, word, all)
		}
	}
}

const (
	useVolume  = "--network none -v follow:/data --volume-driver flocker redis:8 sh -c "
	writerSays = `'n=0; while n=$((n + 1)); do echo $n >/data/count; sync /data/count; sleep 0.05; done'`
)

// TestDockerVolumesFollowTheirContainers uses Docker alone: a volume is made, used, refused where it is in use elsewhere, used on
// another node with what was written to it, and removed.
func TestDockerVolumesFollowTheirContainers(t *testing.T) {
	s := enter(t)
	for _, node := range []string{"node1", "node2"} {
		_, err := s.Dev(s.ctx, "load", "redis:8", node)
		s.must(err)
	}
	s.unable("node1", "docker volume create -d flocker -o size=1G -o colour=red follow", "colour", "size")
	s.onNode("node1", "docker volume create -d flocker -o size=1G -o mode=0700 follow && docker volume create -d flocker follow")
	s.onNode("node1", "docker run -d --name writer "+useVolume+writerSays)
	t.Cleanup(func() {
		for _, node := range []string{"node1", "node2"} {
			if _, err := s.Exec(s.ctx, node, "sh", "-c", "docker rm -f writer reader; docker volume rm -f follow"); err != nil {
				t.Error(err)
			}
		}
	})
	s.must(s.Until(s.ctx, "the writer to write", func() (bool, error) {
		out, err := s.Exec(s.ctx, "node1", "docker", "exec", "writer", "cat", "/data/count")
		return err == nil && len(out) > 1, err
	}))
	for _, node := range []string{"node1", "node2"} {
		if seen := s.onNode(node, "docker volume ls -q -f driver=flocker; docker volume inspect -f '{{.Scope}} {{.Status.node}} {{.Status.size}}' follow"); !strings.Contains(seen, "follow\n") ||
			!strings.Contains(seen, "global node1 1 GiB") {
			s.Errorf("on %s Docker sees %q", node, seen)
		}
	}
	s.unable("node2", "docker run --rm "+useVolume+"true", "node1", "writer")
	s.unable("node2", "docker volume rm follow", "node1", "writer")
	s.unable("node1", "docker volume rm follow", "in use")

	s.agentRestarts()

	s.onNode("node1", "docker rm -f writer")
	last := s.onNode("node1", "cat /flocker/$(docker volume inspect -f '{{.Status.dataset}}' follow)/data/count")
	if got := s.onNode("node2", "docker run --rm --name reader "+useVolume+"'ls -A /data; cat /data/count'"); got != "count\n"+last {
		s.Errorf("the reader sees %q; want the count and %q in it", got, last)
	}
	if at := s.onNode("node1", "docker volume inspect -f '{{.Status.node}}' follow"); at != "node2" {
		s.Errorf("the volume is on %s; want node2", at)
	}
	s.onNode("node1", "docker volume rm follow")
	s.unable("node2", "docker volume inspect follow", "follow")
	s.must(s.Until(s.ctx, "the data to be gone", func() (bool, error) {
		st, err := s.Status(s.ctx)
		for _, d := range st.Datasets {
			if d.Name == "follow" {
				return false, err
			}
		}
		return err == nil, err
	}))
}

// agentRestarts kills the agent under the writer, which neither stops nor loses its volume, also when another use of it ends.
func (s *stage) agentRestarts() {
	s.T.Helper()
	const look = "docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}' writer"
	before := s.onNode("node1", look)
	s.must(s.Kill(s.ctx, "node1", "agent"))
	s.must(s.Until(s.ctx, "the plug-in to answer again", func() (bool, error) {
		_, err := s.Exec(s.ctx, "node1", "docker", "volume", "inspect", "follow")
		return err == nil, err
	}))
	s.onNode("node1", "docker run --rm --name reader "+useVolume+"'cat /data/count'")
	if after := s.onNode("node1", look); after != before {
		s.Errorf("the restart touched the writer: %s, before %s", after, before)
	}
	s.unable("node2", "docker run --rm "+useVolume+"true", "node1", "writer")
}
