// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ofDocker = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n10.144.0.9\tapp\n"

func hostsFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// many are names of a cluster; shift gives each another address.
func many(n, shift int) map[string]netip.Addr {
	hosts := map[string]netip.Addr{}
	for i := range n {
		hosts[fmt.Sprintf("application-%d", i)] = netip.AddrFrom4([4]byte{10, 144, byte((i + shift) >> 8), byte(i + shift)})
	}
	return hosts
}

func write(t testing.TB, path string, hosts map[string]netip.Addr) {
	t.Helper()
	if err := writeNames(path, hosts, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
}

func TestWrittenNamesAreReadBack(t *testing.T) {
	path := hostsFile(t, ofDocker+"10.0.0.1\tmine # no newline")
	for _, hosts := range []map[string]netip.Addr{many(3, 0), many(5, 7), many(2, 0), {}, many(4, 7)} {
		write(t, path, hosts)
		got, err := namesIn(path)
		if diff := cmp.Diff(hosts, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), ofDocker+"10.0.0.1\tmine # no newline\n") {
			t.Errorf("lines of others are not as they were, %v:\n%s", err, text)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > 4+3+5 {
		t.Errorf("%d lines: a name that comes back takes its old line", n)
	}
}

func TestSameNamesAreNotWritten(t *testing.T) {
	path := hostsFile(t, ofDocker)
	write(t, path, many(10, 0))
	if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	write(t, path, many(10, 0))
	info, err := os.Stat(path)
	if err != nil || !info.ModTime().Equal(time.Unix(1, 0)) {
		t.Errorf("was written at %v, %v", info.ModTime(), err)
	}
}

func TestFileOfNamesStaysTheSameFile(t *testing.T) {
	path := hostsFile(t, ofDocker)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, many(10, 0))
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("is another file, %v: containers have the old one mounted", err)
	}
}

// Readers of every pace, while the names change all the time.
func TestReaderNeverSeesAPartOfALine(t *testing.T) {
	path := hostsFile(t, ofDocker)
	whole := map[string]bool{}
	for line := range strings.Lines(ofDocker) {
		whole[line] = true
	}
	sets := []map[string]netip.Addr{many(40, 0), many(60, 3), many(7, 100), {}, many(200, 90)}
	for _, hosts := range sets {
		for name, address := range hosts {
			whole[hostsLine(name, address)] = true
		}
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, size := range []int{16, 61, 1024, 4096} {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readSlowly(path, size, whole); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 400 {
		write(t, path, sets[i%len(sets)])
	}
	close(done)
	readers.Wait()
}

// readSlowly reads in small pieces, as resolvers do, and looks at each line that is no comment.
func readSlowly(path string, size int, whole map[string]bool) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for r := bufio.NewReaderSize(file, size); ; {
		line, err := r.ReadString('\n')
		if line != "" && line[0] != '#' && !whole[line] {
			return fmt.Errorf("a reader of %d bytes at a time sees %q", size, line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A writer that dies, or a reader that comes, between two pages of the new lines must find comments.
func TestNewLinesAreCommentsUntilAllIsWritten(t *testing.T) {
	path := hostsFile(t, ofDocker)
	edit := planHosts([]byte(ofDocker), many(3, 0), netip.Addr{})
	if err := appendLines(path, []byte(ofDocker), edit); err != nil {
		t.Fatal(err)
	}
	if names, err := namesIn(path); err != nil || len(names) != 0 {
		t.Errorf("valid already: %v, %v", names, err)
	}
	write(t, path, many(3, 0))
	if names, err := namesIn(path); err != nil || len(names) != 3 {
		t.Errorf("a writer that comes after finds %v, %v", names, err)
	}
}

// A name whose address changes must be known at every moment.
func TestNewNamesAreValidBeforeOldOnesGo(t *testing.T) {
	text := []byte(ofDocker + hostsLine("db", netip.MustParseAddr("10.144.0.3")))
	edit := planHosts(text, map[string]netip.Addr{"db": netip.MustParseAddr("10.144.0.4"), "APP": netip.MustParseAddr("10.144.0.5")}, netip.Addr{})
	want := hostsEdit{
		add:  []string{"10.144.0.4\tdb\t# flocker\n"},
		show: map[int64]byte{},
		hide: []int64{int64(len(ofDocker))},
	}
	if diff := cmp.Diff(want, edit, cmp.AllowUnexported(hostsEdit{})); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkThousandNames(b *testing.B) {
	b.Run("same", func(b *testing.B) {
		path, hosts := hostsFile(b, ofDocker), many(1000, 0)
		write(b, path, hosts)
		for b.Loop() {
			write(b, path, hosts)
		}
	})
	b.Run("one-more", func(b *testing.B) {
		path, hosts := hostsFile(b, ofDocker), many(1000, 0)
		more := maps.Clone(hosts)
		more["more"] = netip.MustParseAddr("10.144.200.1")
		for b.Loop() {
			write(b, path, hosts)
			write(b, path, more)
		}
	})
	b.Run("first", func(b *testing.B) {
		hosts := many(1000, 0)
		for b.Loop() {
			write(b, hostsFile(b, ofDocker), hosts)
		}
	})
}

// Docker gives a container's name to its IPv6 address too; nothing of ours may be known by one.
func TestAnApplicationDoesNotKnowItselfByItsIPv6Address(t *testing.T) {
	own6 := netip.MustParseAddr("fd00:7::a90:9")
	path := hostsFile(t, ofDocker+"fd00:7:0:0::a90:9\tapp\nfd00:7::a90:10\tother\n")
	for _, hosts := range []map[string]netip.Addr{nil, many(2, 0), many(1, 0)} {
		if err := writeNames(path, hosts, own6); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), ofDocker+"#d00:7:0:0::a90:9\tapp\nfd00:7::a90:10\tother\n") {
			t.Errorf("%v, after %v:\n%s", err, hosts, text)
		}
		if got, err := namesIn(path); err != nil || len(got) != len(hosts) {
			t.Errorf("names read back: %v, %v", got, err)
		}
	}
}
