// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/flocker-project/flocker/container"
)

// hostsMark ends each line of ours in a file of names.
const hostsMark = "\t# flocker"

// SetHosts writes the names into the holder's file of names, which is also that of the application's container.
func (e *Engine) SetHosts(ctx context.Context, application string, hosts map[string]netip.Addr) error {
	if err := container.CheckHosts(hosts); err != nil {
		return fmt.Errorf("names for application %s: %w", application, err)
	}
	end, err := e.naming.begin(ctx, application)
	if err != nil {
		return err
	}
	defer end()
	holder, err := e.inspectNamed(ctx, holderNameOf(application))
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("names for application %s: container %s: %w", application, holderNameOf(application), container.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if !e.ours(holder.Config.Labels, labelHolder, application) {
		return fmt.Errorf("names for application %s: container %s: %w", application, holderNameOf(application), container.ErrNameTaken)
	}
	_, own6 := e.fixedAddresses(holder)
	if err := writeNames(holder.HostsPath, hosts, own6); err != nil {
		return fmt.Errorf("names for application %s: %w", application, err)
	}
	return nil
}

// hostsLine is one name, valid while its first byte is there: "#" in that place makes it a comment.
func hostsLine(name string, address netip.Addr) string {
	return address.String() + "\t" + name + hostsMark + "\n"
}

// hostsEdit is what must change in a file of names.
type hostsEdit struct {
	add  []string       // lines that are not there
	show map[int64]byte // first bytes of lines that are there as comments
	hide []int64        // where lines begin that must become comments
}

// planHosts compares a file with the wanted names. Lines of others stay, and a name that they have is theirs; but for the one
// by which Docker gives the container's own name its IPv6 address. Resolvers would put that before the IPv4 address, and an
// application that listens on IPv4 only would not find itself, on nodes with IPv6 alone.
func planHosts(text []byte, hosts map[string]netip.Addr, own6 netip.Addr) hostsEdit {
	missing := map[string]bool{}
	theirs := namesOfOthers(text)
	for name, address := range hosts {
		if !theirs[strings.ToLower(name)] {
			missing[hostsLine(name, address)] = true
		}
	}
	edit := hostsEdit{show: map[int64]byte{}}
	hidden := map[string]int64{} // by all but the first byte
	var at int64
	for line := range bytes.Lines(text) {
		switch {
		case !isOurs(line) && isOf(line, own6):
			edit.hide = append(edit.hide, at)
		case !isOurs(line):
		case line[0] == '#':
			hidden[string(line[1:])] = at
		case missing[string(line)]:
			delete(missing, string(line))
		default:
			edit.hide = append(edit.hide, at)
		}
		at += int64(len(line))
	}
	for _, line := range slices.Sorted(maps.Keys(missing)) {
		if at, ok := hidden[line[1:]]; ok {
			edit.show[at] = line[0]
			delete(hidden, line[1:])
			continue
		}
		edit.add = append(edit.add, line)
	}
	return edit
}

func isOurs(line []byte) bool { return bytes.HasSuffix(line, []byte(hostsMark+"\n")) }

// isOf says whether a line gives names to an address.
func isOf(line []byte, address netip.Addr) bool {
	fields := strings.Fields(string(line))
	if len(fields) == 0 || !address.IsValid() {
		return false
	}
	has, err := netip.ParseAddr(fields[0])
	return err == nil && has == address
}

func namesOfOthers(text []byte) map[string]bool {
	names := map[string]bool{}
	for line := range bytes.Lines(text) {
		if isOurs(line) {
			continue
		}
		valid, _, _ := bytes.Cut(line, []byte("#"))
		fields := strings.Fields(string(valid))
		for i := 1; i < len(fields); i++ {
			names[strings.ToLower(fields[i])] = true
		}
	}
	return names
}

// namesIn reads the names of ours that are valid; a file that is not there has none.
func namesIn(path string) (map[string]netip.Addr, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read names: %w", err)
	}
	names := map[string]netip.Addr{}
	for line := range bytes.Lines(text) {
		if !isOurs(line) || line[0] == '#' {
			continue
		}
		fields := strings.Fields(string(line))
		if address, err := netip.ParseAddr(fields[0]); err == nil {
			names[fields[1]] = address
		}
	}
	return names, nil
}

// writeNames changes what differs, in place: the file is mounted, by its inode, where it is read. A reader never sees a part of
// a line, however slowly it reads: a new line is a comment until all of it is there, and then one byte changes; a line that has to go
// becomes a comment by one byte. New names are valid before old ones go. Comments are left until Docker makes the file anew.
func writeNames(path string, hosts map[string]netip.Addr, own6 netip.Addr) (err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the container's names (the agent must see docker's own files): %w", err)
	}
	edit := planHosts(text, hosts, own6)
	if len(edit.add)+len(edit.show)+len(edit.hide) == 0 {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the container's names: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := appendLines(path, text, edit); err != nil {
		return fmt.Errorf("write the container's names: %w", err)
	}
	for at, first := range edit.show {
		if _, err := file.WriteAt([]byte{first}, at); err != nil {
			return fmt.Errorf("write the container's names: %w", err)
		}
	}
	for _, at := range edit.hide {
		if _, err := file.WriteAt([]byte{'#'}, at); err != nil {
			return fmt.Errorf("write the container's names: %w", err)
		}
	}
	return nil
}

// appendLines adds the new lines as comments behind whatever others have added by now, and plans to show them.
func appendLines(path string, before []byte, edit hostsEdit) (err error) {
	if len(edit.add) == 0 {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var lines bytes.Buffer
	if len(before) > 0 && before[len(before)-1] != '\n' {
		lines.WriteByte('\n')
	}
	starts := make([]int64, len(edit.add))
	for i, line := range edit.add {
		starts[i] = int64(lines.Len())
		lines.WriteString("#" + line[1:])
	}
	if _, err := file.Write(lines.Bytes()); err != nil {
		return err
	}
	end, err := file.Seek(0, 1)
	if err != nil {
		return err
	}
	for i, line := range edit.add {
		edit.show[end-int64(lines.Len())+starts[i]] = line[0]
	}
	return nil
}
