// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flocker-project/flocker/test/lab"
)

// showLate prints who waited longer than the gap allows, by address.
func (m *movesOfNetwork) showLate(began time.Time, gap time.Duration) {
	type late struct {
		n                int
		longest          time.Duration
		earliest, latest time.Duration // when they began, since the move was asked for
	}
	all := map[string]late{}
	for _, w := range m.clients.Waits(began) {
		if w.Err == nil && w.Took <= gap+netAllowed {
			continue
		}
		l, at := all[w.Address], w.Began.Sub(began)
		if l.n == 0 || at < l.earliest {
			l.earliest = at
		}
		l.n, l.longest, l.latest = l.n+1, max(l.longest, w.Took), max(l.latest, at)
		all[w.Address] = l
	}
	for _, address := range slices.Sorted(maps.Keys(all)) {
		l := all[address]
		say("      late or failed at %s: %d, begun %d to %d ms after the move, longest %d ms", address, l.n,
			l.earliest.Milliseconds(), l.latest.Milliseconds(), l.longest.Milliseconds())
	}
}

// lookForDrops prints the kernel's own counters, of this node and of every container on it: a line of names, then lines of values.
const lookForDrops = `awk '$1 == "TcpExt:" {print "node", $0}' /proc/1/net/netstat
for c in $(docker ps --format '{{.Names}}'); do
p=$(docker inspect -f '{{.State.Pid}}' $c) && awk -v who=$c '$1 == "TcpExt:" {print who, $0}' /proc/$p/net/netstat
done 2>/dev/null
awk 'NR == 1 {print "node conntrack:", $0; next} {print "hex conntrack:", $0}' /proc/net/stat/nf_conntrack
tc -s qdisc show dev eth0 | awk '/dropped/ {n += $7} END {print "node qdisc: dropped"; print "node qdisc:", n+0}'
tr ':' ' ' </proc/1/net/dev | awk 'NR > 2 {print "device", $1 ":", "rx tx"; print "device", $1 ":", $5, $13}'
true`

// telling are the counters that say where a connection's packet was lost.
func telling() []string {
	return []string{
		"ListenOverflows", "ListenDrops", "TCPBacklogDrop", "TCPReqQFullDrop", "TCPReqQFullDoCookies", "PAWSPassive", "TCPTimeWaitOverflow",
		"unresolved_discards", "table_fulls", "res_failed", "insert_failed", "drop", "early_drop", "chaintoolong", "dropped", "rx", "tx",
	}
}

// drops are the kernel's counters of lost packets, by node and counter.
func (m *movesOfNetwork) drops(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	for i := range m.lab.Nodes {
		node := lab.Node(i + 1)
		out, err := m.lab.Exec(ctx, node, "sh", "-c", lookForDrops)
		if err != nil {
			return nil, fmt.Errorf("counters of %s: %w", node, err)
		}
		addDrops(all, node, string(out))
	}
	return all, addMachine(all)
}

// addMachine adds what is one for the whole machine: the table of neighbours, and the processors' queues of received packets.
func addMachine(all map[string]int64) error {
	neighbours, err1 := os.ReadFile("/proc/net/stat/arp_cache")
	queues, err2 := os.ReadFile("/proc/net/softnet_stat")
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("counters of the machine: %w", err)
	}
	names, values, _ := strings.Cut(string(neighbours), "\n")
	lines := []string{"machine neighbours: " + names}
	for line := range strings.Lines(values) {
		lines = append(lines, "hex neighbours: "+line)
	}
	lines = append(lines, "machine queues: processed dropped")
	for line := range strings.Lines(string(queues)) {
		lines = append(lines, "hex queues: "+line)
	}
	addDrops(all, "this", strings.Join(lines, "\n"))
	return nil
}

// addDrops reads lines of names, each followed by lines of values; the same counter is there once for each processor.
func addDrops(all map[string]int64, node, text string) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		base := 10
		if fields[0] == "hex" {
			base = 16
		}
		if _, err := strconv.ParseUint(fields[2], base, 64); err != nil || len(names) == 0 {
			names = fields
			continue
		}
		for i := 2; i < min(len(fields), len(names)); i++ {
			value, err := strconv.ParseUint(fields[i], base, 64)
			if err == nil && slices.Contains(telling(), names[i]) {
				all[strings.Join([]string{node, names[0], strings.TrimSuffix(names[1], ":"), names[i]}, " ")] += int64(value)
			}
		}
	}
}

// showDrops prints which counters went up since before.
func (m *movesOfNetwork) showDrops(ctx context.Context, before map[string]int64) error {
	after, err := m.drops(ctx)
	if err != nil {
		return err
	}
	shown := 0
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if more := after[name] - before[name]; more > 0 {
			say("      %s: %d more", name, more)
			shown++
		}
	}
	if shown == 0 {
		say("      no counter of lost packets went up")
	}
	return nil
}
