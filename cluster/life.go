// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"strings"
	"time"
)

// Longest times that an application may ask for.
const (
	maxStopTimeout  = Duration(24 * time.Hour)
	maxCheckTime    = Duration(time.Hour)
	maxFailOverTime = Duration(30 * 24 * time.Hour)
)

// Presets are the built-in sets of hooks.
func Presets() []string { return []string{"mysql", "postgres", "redis"} }

// validateLife looks at how the application starts, gets ready, and ends.
func (a Application) validateLife(p *problems) {
	a.Restart.validate(p)
	if a.StopSignal != "" && !knownSignal(a.StopSignal) {
		p.add("stop_signal", "%.40q is not a signal such as SIGINT", a.StopSignal)
	}
	p.duration("stop_timeout", a.StopTimeout, maxStopTimeout)
	if h := a.Health; h != nil {
		if len(h.Command) == 0 || h.Command[0] == "" {
			p.add("health.command", "is missing")
		}
		p.command("health.command", h.Command)
		p.duration("health.interval", h.Interval, maxCheckTime)
		p.duration("health.timeout", h.Timeout, maxCheckTime)
	}
	if h := a.Hooks; h.Preset != "" && !slices.Contains(Presets(), h.Preset) {
		p.add("hooks.preset", "%.40q is not one of %s", h.Preset, strings.Join(Presets(), ", "))
	}
	if f := a.FailOver; f != nil {
		p.duration("fail_over.after", f.After, maxFailOverTime)
		p.duration("fail_over.max_loss", f.MaxLoss, maxFailOverTime)
	}
	p.command("hooks.quiesce", a.Hooks.Quiesce)
	p.duration("hooks.timeout", a.Hooks.Timeout, maxCheckTime)
}

func (r RestartPolicy) validate(p *problems) {
	switch r.Name {
	case "", RestartNever, RestartAlways:
		if r.MaximumRetryCount != 0 {
			p.add("restart_policy.maximum_retry_count", "goes with on-failure only")
		}
	case RestartOnFailure:
		if r.MaximumRetryCount < 0 {
			p.add("restart_policy.maximum_retry_count", "%d is negative", r.MaximumRetryCount)
		}
	default:
		p.add("restart_policy.name", "%.40q is not one of never, always, on-failure", r.Name)
	}
}

func (p *problems) duration(field string, d, longest Duration) {
	if d < 0 || d > longest {
		p.add(field, "%s is not from 0 to %s", d, longest)
	}
}

func knownSignal(s string) bool {
	name := strings.TrimPrefix(s, "SIG")
	if slices.Contains([]string{
		"ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "KILL", "PIPE", "PROF", "PWR", "QUIT", "SEGV",
		"STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
	}, name) {
		return true
	}
	// systemd as a container's process ends with SIGRTMIN+3.
	n, realTime := strings.CutPrefix(name, "RTMIN+")
	if !realTime {
		n = s
	}
	return digits(n) && len(n) <= 2 && n != "0" && n <= "64"
}
