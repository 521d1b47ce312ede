// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

type v1Container struct {
	Node        string            `json:"node_uuid"`
	Name        string            `json:"name"`
	Image       string            `json:"image"`
	Ports       []v1Port          `json:"ports,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Restart     *v1RestartPolicy  `json:"restart_policy,omitempty"`
	Command     []string          `json:"command_line,omitempty"`
	Swappiness  *int64            `json:"swappiness,omitempty"`
	Volumes     []v1Volume        `json:"volumes,omitempty"`
	CPUShares   *int64            `json:"cpu_shares,omitempty"`
	MemoryLimit *int64            `json:"memory_limit,omitempty"`
	Links       []v1Link          `json:"links,omitempty"`
	Running     *bool             `json:"running,omitempty"`
}

type v1Port struct {
	Internal int `json:"internal"`
	External int `json:"external"`
}

type v1RestartPolicy struct {
	Name              cluster.RestartName `json:"name"`
	MaximumRetryCount *int                `json:"maximum_retry_count,omitempty"`
}

type v1Volume struct {
	Dataset    string `json:"dataset_id"`
	MountPoint string `json:"mountpoint"`
}

type v1Link struct {
	LocalPort  int    `json:"local_port"`
	RemotePort int    `json:"remote_port"`
	Alias      string `json:"alias"`
}

// check is the original's schema.
func (c v1Container) check() error {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	v1UUID("node_uuid", c.Node, &problems)
	if !regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`).MatchString(c.Name) {
		bad("name: %.80q is not a container's name", c.Name)
	}
	if c.Running != nil {
		bad("running: is not part of a configuration")
	}
	if len(c.Volumes) > 1 {
		bad("volumes: has %d items; more than one are for /v2", len(c.Volumes))
	}
	if n := c.CPUShares; n != nil && (*n < 1 || *n > 1024) {
		bad("cpu_shares: %d is not from 1 to 1024", *n)
	}
	if n := c.MemoryLimit; n != nil && *n < 1<<20 {
		bad("memory_limit: %d is below %d", *n, 1<<20)
	}
	if p := c.Restart; p != nil && p.MaximumRetryCount != nil && *p.MaximumRetryCount < 1 {
		bad("restart_policy.maximum_retry_count: %d is below 1", *p.MaximumRetryCount)
	}
	return v1Schema(problems)
}

// conflicts are what the original answers with 409 though the request contradicts only itself.
func (c v1Container) conflicts() error {
	aliases, ports := map[string]bool{}, map[int]bool{}
	for _, l := range c.Links {
		switch {
		case aliases[strings.ToLower(l.Alias)]:
			return &v1Error{status: http.StatusConflict, Description: "Link aliases must be unique."}
		case ports[l.LocalPort]:
			return &v1Error{status: http.StatusConflict, Description: "The local ports in a container's links must be unique."}
		}
		aliases[strings.ToLower(l.Alias)], ports[l.LocalPort] = true, true
	}
	return nil
}

func (c v1Container) application() cluster.Application {
	a := cluster.Application{
		Name: strings.TrimPrefix(c.Name, "/"), Image: c.Image, Node: cluster.NodeID(strings.ToLower(c.Node)),
		Command: c.Command, Environment: c.Environment, Swappiness: c.Swappiness,
	}
	for _, p := range c.Ports {
		a.Ports = append(a.Ports, cluster.Port{Internal: p.Internal, External: p.External})
	}
	for _, l := range c.Links {
		a.Links = append(a.Links, cluster.Link(l))
	}
	for _, v := range c.Volumes {
		a.Volumes = append(a.Volumes, cluster.Volume{Dataset: cluster.DatasetID(strings.ToLower(v.Dataset)), MountPoint: v.MountPoint})
	}
	if c.Restart != nil {
		a.Restart.Name = c.Restart.Name
		if n := c.Restart.MaximumRetryCount; n != nil {
			a.Restart.MaximumRetryCount = *n
		}
	}
	if c.CPUShares != nil {
		a.CPUShares = *c.CPUShares
	}
	if c.MemoryLimit != nil {
		a.MemoryLimit = *c.MemoryLimit
	}
	return a
}

// v1Of shows an application; of its volumes the first by mount point.
func v1Of(a cluster.Application, node cluster.NodeID) v1Container {
	c := v1Container{
		Node: string(node), Name: a.Name, Image: withTag(a.Image), Command: a.Command, Environment: a.Environment,
		Restart: &v1RestartPolicy{Name: cmp.Or(a.Restart.Name, cluster.RestartNever)},
	}
	if n := a.Restart.MaximumRetryCount; n > 0 {
		c.Restart.MaximumRetryCount = &n
	}
	for _, p := range a.Ports {
		if p.External != 0 && p.Protocol != "udp" {
			c.Ports = append(c.Ports, v1Port{Internal: p.Internal, External: p.External})
		}
	}
	slices.SortFunc(c.Ports, func(x, y v1Port) int { return cmp.Or(x.Internal-y.Internal, x.External-y.External) })
	for _, l := range a.Links {
		c.Links = append(c.Links, v1Link(l))
	}
	slices.SortFunc(c.Links, func(x, y v1Link) int { return cmp.Compare(x.Alias, y.Alias) })
	if len(a.Volumes) > 0 {
		first := slices.MinFunc(a.Volumes, func(x, y cluster.Volume) int { return cmp.Compare(x.MountPoint, y.MountPoint) })
		c.Volumes = []v1Volume{{Dataset: string(first.Dataset), MountPoint: first.MountPoint}}
	}
	if a.CPUShares != 0 {
		c.CPUShares = &a.CPUShares
	}
	if a.MemoryLimit != 0 {
		c.MemoryLimit = &a.MemoryLimit
	}
	return c
}

// withTag makes an image's tag explicit, as the original shows it.
func withTag(image string) string {
	if strings.ContainsAny(image[strings.LastIndexByte(image, '/')+1:], ":@") {
		return image
	}
	return image + ":latest"
}

func (h v1) listContainers(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		targets, err := h.targets(r.Context())
		if err != nil {
			return 0, nil, err
		}
		all, err := h.Applications.ListApplications(r.Context())
		list := []v1Container{}
		for _, a := range all {
			if !a.Deleted {
				list = append(list, v1Of(a.Application, cmp.Or(targets[a.Move], a.Node)))
			}
		}
		return http.StatusOK, list, err
	})
}

func (h v1) containerState(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleRead, func(string) (int, any, error) {
		all, err := h.Applications.ListApplications(r.Context())
		list := []v1Container{}
		for _, a := range all {
			if a.Container == nil {
				continue
			}
			c := v1Of(a.Application, a.Node)
			running := a.Container.State == cluster.ContainerRunning
			c.Running = &running
			list = append(list, c)
		}
		return http.StatusOK, list, err
	})
}

func (h v1) createContainer(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleOperate, func(by string) (int, any, error) {
		var c v1Container
		if err := readV1(r, &c); err != nil {
			return 0, nil, err
		}
		if err := c.check(); err != nil {
			return 0, nil, err
		}
		if err := c.conflicts(); err != nil {
			return 0, nil, err
		}
		a := c.application()
		_, err := h.Applications.Deploy(r.Context(), by, DeployRequest{Applications: []cluster.Application{a}, CreateOnly: true})
		return http.StatusCreated, v1Of(a, a.Node), err
	})
}

// moveContainer starts a move of the container with its data.
func (h v1) moveContainer(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleOperate, func(by string) (int, any, error) {
		var q struct {
			Node string `json:"node_uuid"`
		}
		if err := readV1(r, &q); err != nil {
			return 0, nil, err
		}
		var problems []string
		if v1UUID("node_uuid", q.Node, &problems); len(problems) > 0 {
			return 0, nil, v1Schema(problems)
		}
		a, err := h.container(r)
		if err != nil || strings.EqualFold(q.Node, string(a.Node)) {
			return http.StatusOK, v1Of(a.Application, a.Node), err
		}
		m, err := h.Moves.CreateMove(r.Context(), by, MoveRequest{Application: a.Name, Node: q.Node})
		return http.StatusOK, v1Of(a.Application, m.Target), err
	})
}

func (h v1) deleteContainer(w http.ResponseWriter, r *http.Request) {
	h.answer(w, r, pki.RoleOperate, func(by string) (int, any, error) {
		a, err := h.container(r)
		if err != nil {
			return 0, nil, err
		}
		_, err = h.Applications.DeleteApplication(r.Context(), by, a.Name)
		return http.StatusOK, nil, err
	})
}

func (h v1) container(r *http.Request) (ApplicationInfo, error) {
	a, err := h.Applications.GetApplication(r.Context(), r.PathValue("name"))
	if err == nil && a.Deleted {
		err = cluster.ErrNotFound
	}
	if errors.Is(err, cluster.ErrNotFound) {
		return a, &v1Error{status: http.StatusNotFound, Description: "Container not found."}
	}
	return a, err
}
