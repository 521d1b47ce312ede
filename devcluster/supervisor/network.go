// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/internal/run"
)

// Network is how a node's link is shaped and which peers it is cut off from. It lasts over a restart of the node.
type Network struct {
	// Link is a rate such as 1gbit for what the node sends; empty is the machine's own speed.
	Link string       `json:"link,omitempty"`
	Cut  []netip.Addr `json:"cut,omitempty"`
}

// device is the interface of a node in the cluster's network; Docker names the first one so.
const device = "eth0"

// ApplyNetwork makes the kernel follow NetworkFile; without the file it does nothing.
func ApplyNetwork(ctx context.Context) error {
	content, err := os.ReadFile(NetworkFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read network settings: %w", err)
	}
	var n Network
	if err := json.Unmarshal(content, &n); err != nil {
		return fmt.Errorf("read network settings from %s: %w", NetworkFile, err)
	}
	if err := n.shape(ctx); err != nil {
		return err
	}
	rules := run.Command(ctx, "nft", "-f", "-")
	rules.Stdin = strings.NewReader(n.rules())
	if err := rules.Run(); err != nil {
		return fmt.Errorf("cut off peers: %w", err)
	}
	return nil
}

func (n Network) shape(ctx context.Context) error {
	args := []string{"qdisc", "replace", "dev", device, "root", "noqueue"}
	if n.Link != "" {
		rate, err := ParseRate(n.Link)
		if err != nil {
			return err
		}
		args = append(args[:len(args)-1], shaper(rate)...)
	}
	if err := run.Command(ctx, "tc", args...).Run(); err != nil {
		return fmt.Errorf("shape the link: %w", err)
	}
	return nil
}

// shaper holds 2 ms of traffic in its bucket, enough for one timer tick and one large segment, and queues 20 ms.
func shaper(bitsPerSecond int64) []string {
	burst := max(bitsPerSecond/8/500, 64<<10)
	return []string{
		"tbf", "rate", strconv.FormatInt(bitsPerSecond, 10) + "bit", "burst", strconv.FormatInt(burst, 10), "latency", "20ms",
	}
}

// rules drops before connection tracking, so that established connections are cut as well.
func (n Network) rules() string {
	const table = "inet flocker_dev"
	var b strings.Builder
	fmt.Fprintf(&b, "table %s {}\ndelete table %s\n", table, table)
	if len(n.Cut) == 0 {
		return b.String()
	}
	peers := map[string][]string{}
	for _, a := range n.Cut {
		family := "ip"
		if a.Is6() {
			family = "ip6"
		}
		peers[family] = append(peers[family], a.String())
	}
	fmt.Fprintf(&b, "table %s {\n", table)
	for _, hook := range []string{"prerouting", "output"} {
		fmt.Fprintf(&b, "  chain %s { type filter hook %s priority -310;", hook, hook)
		for _, family := range slices.Sorted(maps.Keys(peers)) {
			set := "{ " + strings.Join(peers[family], ", ") + " }"
			fmt.Fprintf(&b, " %s saddr %s drop; %s daddr %s drop;", family, set, family, set)
		}
		b.WriteString(" }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// ParseRate reads a rate such as 1gbit, 100mbit or 500kbit.
func ParseRate(text string) (bitsPerSecond int64, err error) {
	lower := strings.ToLower(strings.TrimSpace(text))
	for suffix, factor := range map[string]int64{"gbit": 1e9, "mbit": 1e6, "kbit": 1e3} {
		number, ok := strings.CutSuffix(lower, suffix)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if bits := value * float64(factor); err == nil && bits >= 8e3 && bits <= 1e12 {
			return int64(bits), nil
		}
	}
	return 0, fmt.Errorf("rate %q: want a number with gbit, mbit or kbit, such as 1gbit", text)
}
