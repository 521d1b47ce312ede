// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"archive/tar"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"

	"github.com/flocker-project/flocker/internal/run"
)

func TestChooseSubnetAvoidsWhatIsInUse(t *testing.T) {
	prefixes := func(texts ...string) []netip.Prefix {
		var all []netip.Prefix
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for name, test := range map[string]struct {
		used []netip.Prefix
		want string
	}{
		"nothing in use":       {nil, "10.87.0.0/24"},
		"elsewhere":            {prefixes("172.17.0.0/16", "192.0.2.0/24"), "10.87.0.0/24"},
		"default route":        {prefixes("0.0.0.0/0"), "10.87.0.0/24"},
		"first two taken":      {prefixes("10.87.0.0/24", "10.87.1.128/25"), "10.87.2.0/24"},
		"wide route around it": {prefixes("10.87.0.0/17"), "10.87.128.0/24"},
	} {
		if got, err := chooseSubnet(test.used); err != nil || got.String() != test.want {
			t.Errorf("%s: chooseSubnet = %v, %v; want %s", name, got, err, test.want)
		}
	}
	if got, err := chooseSubnet(prefixes("10.0.0.0/8")); !errors.Is(err, errNoSubnet) {
		t.Errorf("chooseSubnet with all in use = %v, %v; want errNoSubnet", got, err)
	}
}

func TestMachinesHaveFixedNamesAndAddresses(t *testing.T) {
	subnet, subnet6 := netip.MustParsePrefix("10.87.3.0/24"), netip.MustParsePrefix("fd00:7::/64")
	for name, want := range map[string]Node{
		"control": {"control", "flocker-dev-control", netip.MustParseAddr("10.87.3.10"), netip.MustParseAddr("fd00:7::a57:30a")},
		"node1":   {"node1", "flocker-dev-node1", netip.MustParseAddr("10.87.3.11"), netip.MustParseAddr("fd00:7::a57:30b")},
		"node200": {"node200", "flocker-dev-node200", netip.MustParseAddr("10.87.3.210"), netip.MustParseAddr("fd00:7::a57:3d2")},
	} {
		got, err := nodeAt("dev", subnet, subnet6, name)
		if err != nil || got != want || len(got.addresses()) != 2 {
			t.Errorf("nodeAt(%s) = %+v, %v; want %+v", name, got, err, want)
		}
		want.Address6 = netip.Addr{}
		if got, err = nodeAt("dev", subnet, netip.Prefix{}, name); err != nil || got != want || len(got.addresses()) != 1 {
			t.Errorf("nodeAt(%s) without IPv6 = %+v, %v; want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"", "node", "node0", "node01", "node201", "node-1", "Node1", "control2", "node1 "} {
		if _, err := nodeAt("dev", subnet, subnet6, name); !errors.Is(err, ErrNoNode) {
			t.Errorf("nodeAt(%q) = %v; want ErrNoNode", name, err)
		}
	}
}

func TestOptionsAreCheckedBeforeAnythingIsMade(t *testing.T) {
	good := Options{Name: "dev", Nodes: 3, Link: "1gbit"}
	if err := good.check(); err != nil {
		t.Errorf("check of %+v: %v", good, err)
	}
	for name, bad := range map[string]Options{
		"no name":    {Nodes: 3},
		"name":       {Name: "../x", Nodes: 3},
		"upper case": {Name: "Dev", Nodes: 3},
		"no nodes":   {Name: "dev"},
		"negative":   {Name: "dev", Nodes: -1},
		"too many":   {Name: "dev", Nodes: MaxNodes + 1},
		"link":       {Name: "dev", Nodes: 3, Link: "fast"},
	} {
		if err := bad.check(); err == nil {
			t.Errorf("%s: check of %+v found nothing wrong", name, bad)
		}
	}
}

func TestRecipeTagFollowsItsContent(t *testing.T) {
	files := map[string][]byte{"Dockerfile": []byte("FROM x\n"), "a": []byte("b")}
	tag := hashRecipe("base:1", files)
	if again := hashRecipe("base:1", files); again != tag {
		t.Errorf("the same recipe has tags %s and %s", tag, again)
	}
	others := []string{
		hashRecipe("base:2", files),
		hashRecipe("base:1", map[string][]byte{"Dockerfile": []byte("FROM x\n"), "a": []byte("c")}),
		hashRecipe("base:1", map[string][]byte{"Dockerfile": []byte("FROM x\n"), "ab": nil}),
	}
	if slices.Contains(others, tag) {
		t.Errorf("another recipe has the tag %s too: %v", tag, others)
	}
}

func TestEveryRecipeIsComplete(t *testing.T) {
	names := []string{"base", nodeImage, cephImage}
	for _, name := range lookAlikes {
		names = append(names, name)
	}
	for _, name := range names {
		r, err := readRecipe(name, "base:1")
		if err != nil || r.files["Dockerfile"] == nil {
			t.Errorf("recipe %s: files %d, %v; want a Dockerfile", name, len(r.files), err)
		}
		for path, content := range r.files {
			if !strings.HasPrefix(string(content), "#!/bin/sh\n") {
				continue
			}
			check := run.Command(t.Context(), "sh", "-n")
			check.Stdin = strings.NewReader(string(content))
			if err := check.Run(); err != nil {
				t.Errorf("%s/%s: %v", name, path, err)
			}
		}
	}
}

// A machine with Ceph must not count as one of another version where the others have none, nor the other way round.
func TestOnlyAnotherVersionOfARecipeIsAged(t *testing.T) {
	for _, c := range []struct {
		image, now string
		aged       bool
	}{
		{"flocker-dev/node:1", "flocker-dev/node:1", false},
		{"flocker-dev/node:1", "flocker-dev/node:2", true},
		{"flocker-dev/ceph:1", "flocker-dev/node:2", false},
	} {
		if got := aged(c.image, c.now); got != c.aged {
			t.Errorf("aged(%s, %s) = %v; want %v", c.image, c.now, got, c.aged)
		}
	}
}

func TestImageIsBuiltAnewWhereWhatItStandsOnChanges(t *testing.T) {
	node, from, err := recipeOf(nodeImage)
	if err != nil {
		t.Fatal(err)
	}
	base, _, err := recipeOf("base")
	if err != nil || from != base.tag {
		t.Errorf("%s is built from %s, %v; want %s", node.tag, from, err, base.tag)
	}
	if ceph, from, err := recipeOf(cephImage); err != nil || from != node.tag {
		t.Errorf("%s is built from %s, %v; want %s", ceph.tag, from, err, node.tag)
	}
}

func TestTarOfHoldsEveryFile(t *testing.T) {
	archive, err := tarOf(map[string][]byte{"b": []byte("2"), "a": []byte("1")}, map[string][]byte{"machine/c": []byte("3")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.Name+"="+string(content))
	}
	if diff := cmp.Diff([]string{"a=1", "b=2", "machine/c=3"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMirrorsComeFromTheMachinesOwnRelease(t *testing.T) {
	const debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_CODENAME=bookworm\nID=debian\n"
	const targets = "https://packages.example.org/apt tools-bookworm\nhttp://mirror.example.org/debian/ bookworm\n" +
		"http://mirror.example.org/debian/ bookworm-updates\nhttp://sec.example.org/s/ bookworm-security\nhttp://late.example.org/ bookworm\n"
	var none aptSettings
	for name, test := range map[string]struct {
		targets, release string
		want             aptSettings
	}{
		"debian":          {targets, debian, aptSettings{mirror: "http://mirror.example.org/debian", security: "http://sec.example.org/s"}},
		"without sources": {"", debian, none},
		"other scheme":    {"mirror+file:/etc/mirrors bookworm\n", debian, none},
		"not debian":      {targets, "ID=ubuntu\nVERSION_CODENAME=bookworm\n", none},
	} {
		var got aptSettings
		got.pickMirrors(test.targets, test.release)
		if got != test.want {
			t.Errorf("%s: %+v; want %+v", name, got, test.want)
		}
		if sources := got.sources(); (sources == "") != (got.mirror == "") {
			t.Errorf("%s: the sources are %q", name, sources)
		}
	}
}

func TestOnlySettingsOfTheWayToARegistryAreCarried(t *testing.T) {
	const dump = `APT::Architecture "amd64";
Acquire::Check-Valid-Until "false";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::https::Verify-Peer "false";
Acquire::IndexTargets::deb::DEP-11::MetaKey "x";
DPkg::Post-Invoke:: "rm -rf /";
`
	const want = `Acquire::Check-Valid-Until "false";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::https::Verify-Peer "false";
`
	got := aptSettings{conf: carriedLines(dump)}
	if got.conf != want {
		t.Errorf("carried:\n%s\nwant:\n%s", got.conf, want)
	}
	if diff := cmp.Diff([]string{"http_proxy=http://proxy.example.org:3128"}, got.proxyEnv()); diff != "" {
		t.Errorf("proxy (-want +got):\n%s", diff)
	}
}

func TestSupervisedCommandLines(t *testing.T) {
	o := Options{
		AgentArgs:   func(n Node) []string { return []string{"agent", n.Name} },
		ControlArgs: func(Node) []string { return []string{"control"} },
	}
	lines := func(n Node, o Options) []string {
		var all []string
		for _, c := range childrenOf(n, o) {
			all = append(all, c.Name+": "+strings.Join(c.Command[max(0, len(c.Command)-2):], " "))
		}
		return all
	}
	engine, zfs := "docker: -c "+startEngine, "zfs: /bin/sh /usr/local/lib/flocker-dev/zfs.sh"
	if diff := cmp.Diff([]string{engine, zfs, "agent: agent node1"}, lines(Node{Name: "node1"}, o)); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	service := []string{"control: " + programPath + " control", "ceph-mon: mon 10.87.0.10", "ceph-osd: " + cephScript + " osd"}
	if diff := cmp.Diff(service, lines(Node{Name: ControlName, Address: netip.MustParseAddr("10.87.0.10")}, o)); diff != "" {
		t.Errorf("control (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{engine, zfs}, lines(Node{Name: "node1"}, Options{})); diff != "" {
		t.Errorf("node without agent (-want +got):\n%s", diff)
	}
}

func TestHostConfigPerKindOfMachine(t *testing.T) {
	n := Node{Name: "node1", Container: "flocker-dev-node1"}
	if h := hostConfig(n, nil, full, true); len(h.Sysctls) > 0 {
		t.Errorf("a node without IPv6 is set to have it: %v", h.Sysctls)
	}
	six := n
	six.Address6 = netip.MustParseAddr("fd00:7::1")
	if h := hostConfig(six, nil, reduced, true); h.Sysctls["net.ipv6.conf.all.disable_ipv6"] != "0" {
		t.Errorf("interfaces that a node makes have no IPv6: %v", h.Sysctls)
	}
	if h := hostConfig(n, nil, full, true); !h.Privileged || h.CapAdd != nil || h.CgroupnsMode != container.CgroupnsModePrivate {
		t.Errorf("privileged, version 2: %+v", h)
	}
	h := hostConfig(n, nil, reduced, false)
	if h.Privileged || !slices.Contains(h.CapDrop, "SYS_RESOURCE") || !slices.Contains(h.Binds, "/sys/fs/cgroup:/sys/fs/cgroup") {
		t.Errorf("reduced, version 1: %+v", h)
	}
	// A nil list is Docker's default one, which hides what a nested engine writes to.
	if h.MaskedPaths == nil || h.ReadonlyPaths == nil {
		t.Error("reduced: paths are masked")
	}
}

func TestResolversThatContainersCanReach(t *testing.T) {
	const conf = "# comment\nnameserver 127.0.0.53\nsearch example.org\nnameserver 192.0.2.53\nnameserver ::1\nnameserver 2001:db8::53\nnameserver\n"
	if diff := cmp.Diff([]string{"192.0.2.53", "2001:db8::53"}, resolvers(conf)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
