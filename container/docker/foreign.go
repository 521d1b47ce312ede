// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	dockercontainer "github.com/moby/moby/api/types/container"
	dockermount "github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// localDriver is Docker's own for volumes.
const localDriver = "local"

// foreign describes containers that are not ours and matter: the running ones that publish ports or see folders of the host, directly or
// through a volume bound to one, and all that have a name which we would give.
func (e *Engine) foreign(ctx context.Context, others []dockercontainer.Summary) ([]container.Found, error) {
	running := slices.DeleteFunc(slices.Clone(others), func(c dockercontainer.Summary) bool {
		return c.State != dockercontainer.StateRunning && c.State != dockercontainer.StatePaused
	})
	devices, err := e.volumeDevices(ctx, running)
	if err != nil {
		return nil, err
	}
	var found []container.Found
	for _, c := range others {
		if name := foreignName(c); strings.HasPrefix(name, container.NamePrefix) || strings.HasPrefix(name, container.HolderPrefix) {
			found = append(found, container.Found{Name: name})
		}
	}
	for _, c := range running {
		f := container.Found{Name: foreignName(c), Published: publishedPorts(c)}
		f.Mounts, f.Volumes = dataOf(c, devices)
		if len(f.Mounts)+len(f.Volumes)+len(f.Published) > 0 {
			found = append(found, f)
		}
	}
	return found, nil
}

// dataOf are the host's folders that a container sees, and the volumes that it has of us. Where those are mounted Docker does not list.
func dataOf(c dockercontainer.Summary, devices map[string]string) (sources, volumes []string) {
	for _, m := range c.Mounts {
		switch {
		case m.Type == dockermount.TypeBind:
			sources = append(sources, m.Source)
		case m.Type == dockermount.TypeVolume && m.Driver == container.VolumeDriver:
			volumes = append(volumes, m.Name)
		case m.Type == dockermount.TypeVolume && m.Driver == localDriver && devices[m.Name] != "":
			sources = append(sources, devices[m.Name])
		default: // the others are not of the host's filesystem
		}
	}
	return sources, volumes
}

// publishedPorts are each port of the host once; Docker lists one for each address.
func publishedPorts(c dockercontainer.Summary) []cluster.Port {
	var ports []cluster.Port
	for _, p := range c.Ports {
		port := cluster.Port{Internal: int(p.PrivatePort), External: int(p.PublicPort), Protocol: p.Type}
		if p.PublicPort != 0 && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// volumeDevices says what the running containers' local volumes are mounted from; most are from nothing, and then nothing is asked.
func (e *Engine) volumeDevices(ctx context.Context, running []dockercontainer.Summary) (map[string]string, error) {
	used := false
	for _, c := range running {
		for _, m := range c.Mounts {
			used = used || m.Type == dockermount.TypeVolume && m.Driver == localDriver
		}
	}
	if !used {
		return nil, nil
	}
	// Without the filter the engine asks every plug-in: our own, which may be starting with this, and others', which may hang.
	volumes, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: make(client.Filters).Add("driver", localDriver)})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	devices := map[string]string{}
	for _, v := range volumes.Items {
		devices[v.Name] = v.Options["device"]
	}
	return devices, nil
}

func foreignName(c dockercontainer.Summary) string {
	if len(c.Names) == 0 {
		return c.ID
	}
	return strings.TrimPrefix(c.Names[0], "/")
}
