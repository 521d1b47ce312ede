// SPDX-License-Identifier: Apache-2.0

package dockerplugin

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// options are what -o may say of a new volume.
type options struct {
	size           int64 // bytes; 0 where nothing is asked for
	profile        string
	backend        string
	root           cluster.Root
	from, snapshot string // what it begins as a clone of
}

// known are the options' names, in the order in which they are told.
func known() []string { return []string{"size", "profile", "backend", "uid", "gid", "mode", "from"} }

func parseOptions(given map[string]string) (options, error) {
	var o options
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value, err := given[name], error(nil)
		switch name {
		case "size":
			o.size, err = parseSize(value)
		case "profile":
			o.profile = value
		case "backend":
			o.backend = value
		case "uid":
			o.root.UID, err = parseID(value)
		case "gid":
			o.root.GID, err = parseID(value)
		case "mode":
			o.root.Mode = value
			_, err = o.root.Permissions()
		case "from":
			o.from, o.snapshot, _ = strings.Cut(value, "@")
		default:
			return o, fmt.Errorf("option %s is unknown; there are %s", name, strings.Join(known(), ", "))
		}
		if err != nil {
			return o, fmt.Errorf("option %s: %w", name, err)
		}
		if value == "" || name == "from" && (o.from == "" || strings.HasSuffix(value, "@")) {
			return o, fmt.Errorf("option %s: %q says nothing", name, value)
		}
	}
	for _, name := range known() {
		if _, both := given[name]; both && o.from != "" && name != "from" {
			return o, fmt.Errorf("options from and %s exclude each other: a clone has what its volume has", name)
		}
	}
	return o, nil
}

// parseSize reads a number of bytes such as 20G, 1.5 GiB or 1048576; the units are powers of 1024, in any case.
func parseSize(text string) (int64, error) {
	parts := regexp.MustCompile(`(?i)^([0-9]+(?:\.[0-9]+)?) ?(?:([kmgt])i?)?b?$`).FindStringSubmatch(text)
	if parts == nil || len(text) > 40 {
		return 0, fmt.Errorf("%.40q is not a size such as 20G or 1.5GiB", text)
	}
	n, ok := new(big.Rat).SetString(parts[1])
	if !ok {
		return 0, fmt.Errorf("%q is not a number", parts[1])
	}
	if unit := strings.ToLower(parts[2]); unit != "" {
		n.Mul(n, new(big.Rat).SetInt64(1<<(10*(1+strings.Index("kmgt", unit)))))
	}
	switch {
	case n.Sign() == 0:
		return 0, fmt.Errorf("%q is nothing; leave size away for no limit", text)
	case !n.IsInt():
		return 0, fmt.Errorf("%q is not a whole number of bytes", text)
	case !n.Num().IsInt64():
		return 0, fmt.Errorf("%q is too large", text)
	}
	return n.Num().Int64(), nil
}

func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a number of a user or group", text)
	}
	return uint32(n), nil
}

// differs says in what an existing volume is not what the options ask for. What they do not name is as it is.
func (o options) differs(d cluster.Dataset) error {
	root, want := d.Root, o.root
	for _, c := range []struct{ name, is, asked string }{
		{"size", strconv.FormatInt(d.Size, 10), sizeText(o.size)},
		{"profile", d.Profile, o.profile},
		{"backend", d.Backend, o.backend},
		{"uid", idText(root.UID), idText(want.UID)},
		{"gid", idText(root.GID), idText(want.GID)},
		{"mode", root.Mode, want.Mode},
	} {
		if c.asked != "" && c.is != c.asked {
			return fmt.Errorf("it exists with %s %q, and %q is asked for: %w", c.name, c.is, c.asked, cluster.ErrExists)
		}
	}
	return nil
}

func sizeText(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return strconv.FormatInt(bytes, 10)
}

func idText(id uint32) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(id), 10)
}
