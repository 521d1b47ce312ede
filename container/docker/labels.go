// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/flocker-project/flocker/container"
)

// Labels of what is made here: what an agent needs to know it again is on the container itself.
const (
	labelCluster     = "flocker.cluster"
	labelApplication = "flocker.application" // on the application's container
	labelHolder      = "flocker.holder"      // on the holder: the application's name
	labelSpec        = "flocker.spec"
	labelMounts      = "flocker.mounts"
	labelLinks       = "flocker.links" // only where the specification has some of its own
)

func (e *Engine) applicationLabels(spec container.Spec) (map[string]string, error) {
	mounts, err := json.Marshal(spec.Mounts)
	if err != nil {
		return nil, fmt.Errorf("encode mounts of application %s: %w", spec.Application.Name, err)
	}
	labels := map[string]string{
		labelCluster:     e.config.Cluster,
		labelApplication: spec.Application.Name,
		labelSpec:        spec.Application.SpecHash(),
		labelMounts:      string(mounts),
	}
	if len(spec.Links) > 0 {
		links, err := json.Marshal(spec.Links)
		if err != nil {
			return nil, fmt.Errorf("encode links of application %s: %w", spec.Application.Name, err)
		}
		labels[labelLinks] = string(links)
	}
	return labels, nil
}

func (e *Engine) holderLabels(application string) map[string]string {
	return map[string]string{labelCluster: e.config.Cluster, labelHolder: application}
}

// ours says whether labels name something made here, of the kind that role labels, for the application.
func (e *Engine) ours(labels map[string]string, role, application string) bool {
	return labels[labelCluster] == e.config.Cluster && labels[role] == application
}

// sameSpec says whether two containers were made from specifications that need no other one.
func sameSpec(a, b map[string]string) bool {
	return a[labelSpec] == b[labelSpec] && a[labelMounts] == b[labelMounts] && a[labelLinks] == b[labelLinks]
}

func mountsOf(labels map[string]string) ([]container.Mount, error) {
	var mounts []container.Mount
	if err := json.Unmarshal([]byte(labels[labelMounts]), &mounts); err != nil {
		return nil, fmt.Errorf("label %s of application %s: %w", labelMounts, labels[labelApplication], err)
	}
	return mounts, nil
}

func nameOf(application string) string       { return container.NamePrefix + application }
func holderNameOf(application string) string { return container.HolderPrefix + application }

// checkName keeps a name from reaching beyond its folder; its full syntax is checked where it enters the cluster.
func checkName(application string) error {
	if application == "" || application == "." || application == ".." || strings.ContainsAny(application, "/\x00") {
		return fmt.Errorf("application name %q cannot name a container", application)
	}
	return nil
}
