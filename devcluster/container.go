// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// privileges is what a node's container may do.
type privileges string

const (
	// full is Docker's own --privileged.
	full privileges = "full"
	// reduced is all that a machine without CAP_SYS_RESOURCE can give; a nested engine works with it.
	reduced privileges = "reduced"
)

// hosting is what every machine of the cluster is made with.
type hosting struct {
	image      string
	privileges privileges
	cgroup2    bool
}

func (c *Cluster) hosting(ctx context.Context, image string) (hosting, error) {
	info, err := c.engine.docker.Info(ctx, client.InfoOptions{})
	if err != nil {
		return hosting{}, fmt.Errorf("ask the engine for its control groups: %w", err)
	}
	p, err := c.privileges(ctx, image)
	return hosting{image: image, privileges: p, cgroup2: info.Info.CgroupVersion == "2"}, err
}

// privileges asks a machine that exists, and else tries what the engine can give.
func (c *Cluster) privileges(ctx context.Context, image string) (privileges, error) {
	machines, err := c.machines(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range machines {
		if p := m.summary.Labels[labelPrivileges]; p != "" {
			return privileges(p), nil
		}
	}
	created, err := c.engine.docker.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Cmd: []string{"true"}, Labels: map[string]string{labelCluster + ".probe": c.name}},
		HostConfig: &container.HostConfig{Privileged: true, NetworkMode: "none", AutoRemove: true},
	})
	if err != nil {
		return "", fmt.Errorf("try a privileged container: %w", err)
	}
	_, refused := c.engine.docker.ContainerStart(ctx, created.ID, client.ContainerStartOptions{})
	if refused == nil {
		return full, nil // it removes itself
	}
	_, err = c.engine.docker.ContainerRemove(context.WithoutCancel(ctx), created.ID, client.ContainerRemoveOptions{Force: true})
	// The engine may have removed it, or be about to.
	if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
		return "", fmt.Errorf("remove the privileged container: %w", err)
	}
	return reduced, ctx.Err()
}

func (c *Cluster) container(n Node, h hosting) client.ContainerCreateOptions {
	labels := c.labels(n.Name)
	labels[labelPrivileges] = string(h.privileges)
	var env []string
	for name, value := range proxyEnv(c.subnet.String()) {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return client.ContainerCreateOptions{
		Name: n.Container,
		Config: &container.Config{
			Image: h.image, Hostname: n.Name, Env: env, Labels: labels,
			Cmd:        []string{programPath, "dev", "init"},
			StopSignal: "SIGTERM",
		},
		HostConfig: hostConfig(n, c.volumesOf(n), h.privileges, h.cgroup2),
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			networkName(c.name): {
				IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: n.Address, IPv6Address: n.Address6},
				Aliases:    []string{n.Name},
			},
		}},
	}
}

func hostConfig(n Node, volumes map[string]string, p privileges, cgroup2 bool) *container.HostConfig {
	h := &container.HostConfig{
		// Loop devices that a node makes must appear in it, which they do only in the kernel's own /dev.
		Binds:       []string{"/dev:/dev"},
		Tmpfs:       map[string]string{"/run": "exec,mode=755", "/tmp": "exec,mode=1777"},
		SecurityOpt: []string{"seccomp=unconfined", "apparmor=unconfined"},
		LogConfig:   container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}},
	}
	if n.Address6.IsValid() {
		// Docker gives IPv6 to the interface of its network alone; those that a node makes would have none.
		h.Sysctls = map[string]string{"net.ipv6.conf.all.disable_ipv6": "0"}
	}
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: volumes[name]})
	}
	if p == full {
		h.Privileged = true
	} else {
		h.CapAdd, h.CapDrop = []string{"ALL"}, []string{"SYS_RESOURCE"}
		h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
		h.DeviceCgroupRules = []string{"a *:* rwm"}
	}
	if cgroup2 {
		h.CgroupnsMode = container.CgroupnsModePrivate
		return h
	}
	h.CgroupnsMode = container.CgroupnsModeHost
	h.Binds = append(h.Binds, "/sys:/sys", "/sys/fs/cgroup:/sys/fs/cgroup")
	return h
}

func copyLogs(w io.Writer, logs io.Reader) (int64, error) { return stdcopy.StdCopy(w, w, logs) }
