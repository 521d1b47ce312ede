// SPDX-License-Identifier: Apache-2.0

package userdev

import (
	"path/filepath"
	"slices"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// Running are the devices that this machine's kernel has, by volume: also one whose server has ended, which answers every
// request with an error.
func (d *Devices) Running() (map[string]string, error) {
	loops, err := mount.Loops()
	if err != nil {
		return nil, err
	}
	running := map[string]string{}
	for _, l := range loops {
		if id, ours := d.ours(l.File); ours {
			running[id] = l.Device
		}
	}
	return running, nil
}

// Serving is the device of a volume while its server runs, and empty where one of both is not there.
func (d *Devices) Serving(id string) (device string, err error) {
	defer d.lock(id)()
	return d.serving(id)
}

func (d *Devices) serving(id string) (string, error) {
	running, err := d.Running()
	if err != nil || running[id] == "" {
		return "", err
	}
	servers, err := d.servers(id)
	if err != nil || len(servers) != 1 {
		return "", err
	}
	return running[id], nil
}

// ours tells the volume of a loop device's file.
func (d *Devices) ours(file string) (id string, ours bool) {
	folder, name := filepath.Split(file)
	dir, id := filepath.Split(filepath.Clean(folder))
	return id, name == diskFile && filepath.Clean(dir) == d.dir
}

// servers are the processes that serve a device. There may be two where a crash left one.
func (d *Devices) servers(id string) ([]run.Process, error) {
	export := d.export(id)
	return run.Processes(func(args []string) bool {
		return filepath.Base(args[0]) == Program && slices.Contains(args, export)
	})
}
