// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"slices"
	"strings"

	"kmend/internal/host"
	"kmend/internal/vm/wire"
)

// absent is the state of a live patch that is not loaded.
const absent = "absent"

// course is what live patches went through by the kernel log of the selftests:
// the kernel's own messages, and those of the scripts, which log each command
// before they do it and wait for its effect before they go on. So a change is
// bounded on both sides, and where it may have happened or not, both is possible.
type course struct {
	patches map[string][]step // by live patch; states of package host, or absent
	targets map[string][]step // modules that live patches change; on or off
	loads   map[string][]load
	periods []period
	stalls  []period // while test_klp_callbacks_busy holds a transition up
	noTrace []period // from before kernel.ftrace_enabled was 0 until after
	clock   int64    // what a watcher's clock is ahead of the log's, in µs
	drift   int64    // how much that has changed

	settled   map[string]string // what is certain when the scripts go on
	failing   map[string]bool
	reversing map[string]bool
}

// step is what may be from a time on, in µs of the kernel log.
type step struct {
	at  int64
	may []string
}

// period is a time between two messages, as that for which a patch was enabled.
type period struct {
	name     string
	from, to int64
}

// load is when a live patch was loaded, and whether it replaces all others.
type load struct {
	at        int64
	replacing bool
}

// loaded is the last load of a live patch before a time.
func (c *course) loaded(name string, before int64) (last load) {
	for _, l := range c.loads[name] {
		if l.at <= before {
			last = l
		}
	}
	return last
}

const on, off = "on", "off"

var (
	kernelSaysRE = regexp.MustCompile(`^livepatch: '(\w+)': (.*)$`)
	enablingRE   = regexp.MustCompile(`^livepatch: enabling patch '(\w+)'$`)
	commandRE    = regexp.MustCompile(`^% (modprobe|rmmod|echo 0 >) (?:/sys/kernel/livepatch/)?(\w+)(?:/enabled)?(?: (.*))?$`)
	failedRE     = regexp.MustCompile(`^modprobe: ERROR: could not insert '(\w+)'`)
	clockRE      = regexp.MustCompile(`^kmend clock (\d+)$`)
)

func follow(records []wire.Record) *course {
	c := &course{patches: map[string][]step{}, targets: map[string][]step{}, loads: map[string][]load{}, settled: map[string]string{}, failing: map[string]bool{}, reversing: map[string]bool{}}
	var clocks []int64
	lastScript := int64(0)
	for _, r := range records {
		if m := clockRE.FindStringSubmatch(r.Text); m != nil {
			clocks = append(clocks, micros(m[1])-r.Micros)
			continue
		}
		if r.Kernel() {
			if m := enablingRE.FindStringSubmatch(r.Text); m != nil {
				c.set(m[1], r.Micros, absent, host.Patching)
			} else if m := kernelSaysRE.FindStringSubmatch(r.Text); m != nil {
				c.kernelSays(m[1], m[2], r.Micros)
			}
			continue
		}
		c.scriptSays(r.Text, r.Micros, lastScript)
		lastScript = r.Micros
	}
	// The time is read before it is logged, so the largest difference is the best.
	if len(clocks) > 0 {
		c.clock = slices.Max(clocks)
		c.drift = drift(clocks)
	}
	return c
}

// drift is how far the best differences of each fifth of the time lie apart.
func drift(clocks []int64) int64 {
	var best []int64
	for part := range slices.Chunk(clocks, max(len(clocks)/5, 1)) {
		best = append(best, slices.Max(part))
	}
	return slices.Max(best) - slices.Min(best)
}

func (c *course) set(name string, at int64, may ...string) {
	c.patches[name] = append(c.patches[name], step{at, may})
}

func (c *course) now(name string) []string {
	if s := c.patches[name]; len(s) > 0 {
		return s[len(s)-1].may
	}
	return []string{absent}
}

// kernelSays follows kernel/livepatch/transition.c, which says what it does
// before, and that it is complete before others can see it.
func (c *course) kernelSays(name, what string, at int64) {
	switch what {
	case "initializing patching transition":
		c.set(name, at, host.Patching)
	case "starting patching transition":
		if n := len(c.stalls); n > 0 && c.stalls[n-1].from == 0 {
			c.stalls[n-1].from = at
		}
	case "completing patching transition":
		if !c.loaded(name, at).replacing {
			return
		}
		for other := range c.patches {
			if other != name && slices.Contains(c.now(other), host.Enabled) {
				c.set(other, at, host.Enabled, host.Disabled)
				c.settled[other] = host.Disabled
				c.endPeriod(other, at)
			}
		}
	case "patching complete":
		c.set(name, at, host.Patching, host.Enabled)
		c.settled[name] = host.Enabled
		c.periods = append(c.periods, period{name: name, from: at})
	case "canceling patching transition, going to unpatch":
		c.failing[name] = true
		c.set(name, at, host.Patching, absent)
		c.settled[name] = absent
	case "initializing unpatching transition":
		// "enabled" is 1 until the transition has been started.
		c.set(name, at, host.Patching, host.Unpatching)
		c.endPeriod(name, at)
	case "reversing transition from patching to unpatching":
		c.set(name, at, host.Patching, host.Unpatching)
		c.reversing[name] = true
	case "starting unpatching transition":
		if c.reversing[name] {
			c.set(name, at, host.Unpatching)
		}
	case "completing unpatching transition":
		if !c.failing[name] {
			c.set(name, at, host.Unpatching)
		}
	case "unpatching complete":
		if !c.failing[name] {
			c.set(name, at, host.Unpatching, host.Disabled)
			c.settled[name] = host.Disabled
		}
	}
}

func (c *course) endPeriod(name string, at int64) {
	for i := range c.periods {
		if p := &c.periods[i]; p.name == name && p.to == 0 {
			p.to = at
		}
	}
}

// scriptSays follows tools/testing/selftests/livepatch/functions.sh.
func (c *course) scriptSays(text string, at, before int64) {
	for name, state := range c.settled {
		if state == on || state == off {
			c.targets[name] = append(c.targets[name], step{at, []string{state}})
		} else {
			c.set(name, at, state)
		}
	}
	clear(c.settled)
	switch text {
	case "livepatch: kernel.ftrace_enabled = 0":
		c.noTrace = append(c.noTrace, period{from: before})
	case "livepatch: kernel.ftrace_enabled = 1":
		if n := len(c.noTrace); n > 0 && c.noTrace[n-1].to == 0 {
			c.noTrace[n-1].to = at
		}
	}
	if m := failedRE.FindStringSubmatch(text); m != nil {
		c.fails(m[1], at)
	}
	m := commandRE.FindStringSubmatch(text)
	if m == nil {
		return
	}
	c.command(m[1], m[2], m[3], at)
}

func (c *course) fails(name string, at int64) {
	if isTarget(name) {
		c.targets[name] = append(c.targets[name], step{at, []string{off}})
		return
	}
	c.set(name, at, absent)
}

func isTarget(name string) bool {
	return name == "test_klp_callbacks_mod" || name == "test_klp_callbacks_busy"
}

func (c *course) command(what, name, args string, at int64) {
	if isTarget(name) {
		c.targets[name] = append(c.targets[name], step{at, []string{on, off}})
		if c.settled[name] = on; what == "rmmod" {
			c.settled[name] = off
		}
		if what == "modprobe" && strings.Contains(args, "block_transition=Y") {
			c.stalls = append(c.stalls, period{name: name})
		}
		return
	}
	switch what {
	case "modprobe":
		c.set(name, at, absent)
		c.loads[name] = append(c.loads[name], load{at, strings.HasPrefix(name, "test_klp_state") || strings.Contains(args, "replace=1")})
		c.failing[name], c.reversing[name] = false, false
	case "rmmod":
		c.set(name, at, host.Disabled, absent)
		c.settled[name] = absent
	case "echo 0 >":
		if n := len(c.stalls); n > 0 && c.stalls[n-1].to == 0 {
			c.stalls[n-1].to = at
		}
		if slices.Equal(c.now(name), []string{host.Enabled}) {
			c.set(name, at, host.Enabled, host.Patching)
		}
	}
}

// may lists what may be at some time from one time to another.
func may(steps []step, from, to int64, first string) []string {
	states := []string{first}
	for _, s := range steps {
		if s.at > to {
			break
		}
		if s.at <= from {
			states = states[:0]
		}
		for _, m := range s.may {
			if !slices.Contains(states, m) {
				states = append(states, m)
			}
		}
	}
	return states
}
