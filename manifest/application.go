// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// Keys of an application by version of the file, as the error about an unknown one names them.
func keysOf(version int64) []string {
	original := []string{
		"image", "ports", "links", "environment", "volume", "mem_limit", "cpu_shares", "restart_policy",
	}
	if version == 1 {
		return original
	}
	return append(original,
		"command", "user", "volumes", "swappiness", "health", "hooks", "stop_signal", "stop_timeout", "ready_when_running", "fail_over")
}

// applicationFile is what an application file says.
type applicationFile struct {
	doc          *document
	version      int64
	named        []string              // all that the file names, in its order
	applications []cluster.Application // those that could be read
	datasets     []cluster.Dataset     // each once
	writers      map[string]string     // of datasets: the application
}

func readApplications(d *document) *applicationFile {
	f := &applicationFile{doc: d, writers: map[string]string{}}
	if f.version = d.version(); f.version == 0 {
		f.version = 2 // its errors are about fewer keys
	}
	d.root.need("applications")
	if all, ok := d.root.child("applications"); ok {
		f.named = slices.Clone(all.keys)
		for _, name := range f.named {
			f.application(name, &all)
		}
	}
	d.root.end("version", "applications")
	return f
}

func (f *applicationFile) application(name string, all *object) {
	o, ok := all.child(name)
	if !ok {
		return
	}
	if err := cluster.ValidateApplicationName(name); err != nil {
		for _, e := range cluster.FieldErrors(err) {
			all.bad(name, o.line, "%s", e.Problem)
		}
		return
	}
	a := cluster.Application{Name: name}
	f.original(&a, &o)
	if f.version > 1 {
		f.extended(&a, &o)
	}
	o.end(keysOf(f.version)...)
	o.rename("memory_limit", "mem_limit")
	f.doc.judge(a.Validate())
	f.applications = append(f.applications, a)
}

// original reads what version 1 has.
func (f *applicationFile) original(a *cluster.Application, o *object) {
	o.need("image")
	a.Image = o.text("image")
	for _, p := range o.objects("ports") {
		a.Ports = append(a.Ports, f.port(&p))
	}
	for _, l := range o.objects("links") {
		l.need("local_port", "remote_port", "alias")
		a.Links = append(a.Links, cluster.Link{LocalPort: l.port("local_port"), RemotePort: l.port("remote_port"), Alias: l.text("alias")})
		l.end("local_port", "remote_port", "alias")
	}
	if e, ok := o.child("environment"); ok {
		a.Environment = map[string]string{}
		for _, key := range slices.Clone(e.keys) {
			a.Environment[key] = e.text(key)
		}
	}
	a.MemoryLimit = f.memory(o)
	a.CPUShares = o.whole("cpu_shares")
	a.Restart = restartPolicy(o)
	if v, ok := o.child("volume"); ok {
		f.volume(a, o, &v)
	}
}

func (f *applicationFile) port(p *object) cluster.Port {
	port := cluster.Port{Internal: p.port("internal"), External: p.port("external")}
	if f.version == 1 {
		p.need("internal", "external")
		p.end("internal", "external")
		return port
	}
	p.need("internal")
	port.Protocol = p.text("protocol")
	p.end("internal", "external", "protocol")
	return port
}

// memory is a number of bytes; version 2 also takes a size such as 512M.
func (f *applicationFile) memory(o *object) int64 {
	if f.version == 1 {
		return o.whole("mem_limit")
	}
	return o.size("mem_limit")
}

func restartPolicy(o *object) cluster.RestartPolicy {
	policy := cluster.RestartPolicy{Name: cluster.RestartNever}
	r, ok := o.child("restart_policy")
	if !ok {
		return policy
	}
	r.need("name")
	policy.Name = cluster.RestartName(r.text("name"))
	if r.has("maximum_retry_count") {
		count := r.whole("maximum_retry_count")
		if count < 1 || count > 1<<30 {
			r.bad("maximum_retry_count", r.doc.lines[r.at("maximum_retry_count")], "%d is not from 1 to %d", count, 1<<30)
		}
		policy.MaximumRetryCount = int(count)
	}
	r.end("name", "maximum_retry_count")
	return policy
}

// extended reads what version 2 adds.
func (f *applicationFile) extended(a *cluster.Application, o *object) {
	a.Command, a.User = o.words("command"), o.text("user")
	if o.has("swappiness") {
		n := o.whole("swappiness")
		a.Swappiness = &n
	}
	a.StopSignal, a.StopTimeout = o.text("stop_signal"), o.duration("stop_timeout")
	a.ReadyWhenRunning = o.flag("ready_when_running")
	if h, ok := o.child("health"); ok {
		h.need("command")
		a.Health = &cluster.HealthCheck{Command: h.words("command"), Interval: h.duration("interval"), Timeout: h.duration("timeout")}
		h.end("command", "interval", "timeout")
	}
	if h, ok := o.child("fail_over"); ok {
		a.FailOver = &cluster.FailOver{After: h.duration("after"), MaxLoss: h.duration("max_loss")}
		h.end("after", "max_loss")
	}
	if h, ok := o.child("hooks"); ok {
		a.Hooks = cluster.Hooks{Preset: h.text("preset"), Quiesce: h.words("quiesce"), Timeout: h.duration("timeout")}
		h.end("preset", "quiesce", "timeout")
	}
	if o.has("volume") && o.has("volumes") {
		o.bad("volumes", o.doc.lines[o.at("volumes")], "is there beside volume; keep one of them")
	}
	volumes := o.objects("volumes")
	for i := range volumes {
		f.listedVolume(a, &volumes[i], len(volumes))
	}
}

// rename makes problems of a field of cluster's appear under the file's own name of it.
func (o *object) rename(field, key string) {
	o.doc.called[o.at(field)] = o.at(key)
}
