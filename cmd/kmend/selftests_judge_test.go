// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
)

// selftestPatches are the live patches among the modules of the selftests, with
// the objects and functions that each changes.
var selftestPatches = map[string]map[string][]string{
	"test_klp_livepatch":       {"vmlinux": {"cmdline_proc_show"}},
	"test_klp_atomic_replace":  {"vmlinux": {"meminfo_proc_show"}},
	"test_klp_callbacks_demo":  {"vmlinux": nil, "test_klp_callbacks_mod": nil, "test_klp_callbacks_busy": {"busymod_work_func"}},
	"test_klp_callbacks_demo2": {"vmlinux": nil},
	"test_klp_state":           {"vmlinux": nil},
	"test_klp_state2":          {"vmlinux": nil},
	"test_klp_state3":          {"vmlinux": nil},
}

// sight is what a kmend said: the time of the kernel log in which it looked, and
// the state of each live patch.
type sight struct {
	from, to int64
	states   map[string]string
	doc      *host.Status // nil: it said it as text
}

func micros(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func sightOf(doc *host.Status, to int64) sight {
	l := sight{from: doc.Time.UnixMicro(), to: to, states: map[string]string{}, doc: doc}
	for _, p := range doc.Patches {
		l.states[p.Name] = p.State
	}
	return l
}

// listed reads what "kmend list --watch --json" said.
func listed(text string) (looks []sight, err error) {
	for line := range strings.Lines(text) {
		at, text, _ := strings.Cut(line, " ")
		doc := new(host.Status)
		if err := json.Unmarshal([]byte(text), doc); err != nil {
			return nil, fmt.Errorf("%w in %q", err, line)
		}
		looks = append(looks, sightOf(doc, micros(at)))
	}
	return looks, nil
}

var (
	statusStateRE = regexp.MustCompile(`^(\w+): (enabled|patching|unpatching|disabled, without effect)$`)
	statusRestRE  = regexp.MustCompile(`^(kernel \S+, build id [0-9a-f]{12}…, taint [A-Z]+|kernel \S+, build id [0-9a-f]{12}…, taint none|no live patch is loaded|note: kernel.ftrace_enabled is 0: .*|  .*)$`)
	listStateRE   = regexp.MustCompile(`^(test_klp_\w+) +(enabled|patching|unpatching|disabled) +\d+( of \d+)? +.*$`)
	listRestRE    = regexp.MustCompile(`^(no live patch is loaded|NAME +STATE +FUNCTIONS .*)$`)
)

// states reads them in an answer for people, of status or list.
func states(text string) (map[string]string, error) {
	states := map[string]string{}
	none, rows := false, 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		m := statusStateRE.FindStringSubmatch(line)
		if m == nil {
			m = listStateRE.FindStringSubmatch(line)
		}
		switch {
		case m != nil:
			states[m[1]], _, _ = strings.Cut(m[2], ",")
			rows++
		case !statusRestRE.MatchString(line) && !listRestRE.MatchString(line):
			return nil, fmt.Errorf("line %q is neither of list nor of status", line)
		case line == "no live patch is loaded":
			none = true
		case strings.Contains(line, "vmlinux:") && strings.Contains(line, "waits for its module"):
			return nil, fmt.Errorf("%q: vmlinux is no module", line)
		}
	}
	if none != (rows == 0) || len(states) != rows {
		return nil, fmt.Errorf("%d live patches, and none at all: %t", rows, none)
	}
	return states, nil
}

// watched reads what "kmend status --watch" said. It does not say when it
// looked: after it printed the last time.
func watched(text string) (looks []sight, err error) {
	var block strings.Builder
	var from, begin, at int64
	flush := func() error {
		if block.Len() == 0 {
			return nil
		}
		s, err := states(block.String())
		if err != nil {
			return fmt.Errorf("%w in %q", err, block.String())
		}
		looks = append(looks, sight{from: from, to: at, states: s})
		block.Reset()
		from = begin
		return nil
	}
	for line := range strings.Lines(text) {
		stamp, rest, _ := strings.Cut(line, " ")
		if t, err := time.Parse(time.RFC3339, strings.TrimSpace(rest)); err == nil {
			if err := flush(); err != nil {
				return nil, err
			}
			begin = t.UnixMicro()
			continue
		}
		at = micros(stamp)
		block.WriteString(rest)
	}
	return looks, flush()
}

// asked reads what kmends said that looked once.
func asked(text string) (looks []sight, err error) {
	for line := range strings.Lines(text) {
		head, out, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		f := strings.SplitN(head, " ", 4)
		out = strings.ReplaceAll(out, "\v", "\n")
		if !ok || len(f) != 4 || f[2] != "0" {
			return nil, fmt.Errorf("kmend %q failed: %s", head, out)
		}
		if f[3] == "status --json" {
			doc := new(host.Status)
			if err := json.Unmarshal([]byte(out), doc); err != nil {
				return nil, fmt.Errorf("%w in %q", err, out)
			}
			looks = append(looks, sightOf(doc, micros(f[1])))
			continue
		}
		s, err := states(out)
		if err != nil {
			return nil, fmt.Errorf("kmend %s: %w in %q", f[3], err, out)
		}
		looks = append(looks, sight{from: micros(f[0]), to: micros(f[1]), states: s})
	}
	return looks, nil
}

// untrue lists what a look says that cannot be.
func (c *course) untrue(l sight) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	slack := c.drift + 50_000
	from, to := l.from-c.clock-slack, l.to-c.clock+slack
	for name := range l.states {
		if selftestPatches[name] == nil {
			say("%s is shown, and is no live patch", name)
		}
	}
	for name := range selftestPatches {
		state := l.states[name]
		if state == "" {
			state = absent
		}
		if m := may(c.patches[name], from, to, absent); !slices.Contains(m, state) {
			say("%s is shown as %s between %d and %d; it was %s", name, state, from, to, strings.Join(m, " or "))
		}
	}
	for name, state := range l.states {
		for other, too := range l.states {
			if state == host.Enabled && c.loaded(name, to).replacing && too == host.Enabled && c.loaded(other, from).at < c.loaded(name, from).at {
				say("%s and %s are shown as enabled at a time, and the one replaces the other", name, other)
			}
		}
	}
	if l.doc == nil {
		return wrong
	}
	if d := l.doc; d.Version != 1 || len(d.Patches) > 0 && !strings.Contains(d.Taint, "K") {
		say("version %d, taint %q", d.Version, d.Taint)
	}
	for _, n := range l.doc.Notes {
		within := slices.ContainsFunc(c.noTrace, func(p period) bool { return to >= p.from && from <= p.to })
		if !within || !strings.Contains(n, "kernel.ftrace_enabled is 0") {
			say("note %q", n)
		}
	}
	for i := range l.doc.Patches {
		p := &l.doc.Patches[i]
		for _, w := range incoherent(p) {
			say("%s: %s", p.Name, w)
		}
		if slices.Equal(may(c.patches[p.Name], from, to, absent), []string{host.Enabled}) {
			wrong = append(wrong, c.notLive(p, from, to)...)
		}
		if i > 0 && c.loaded(p.Name, to).at < c.loaded(l.doc.Patches[i-1].Name, from).at {
			say("%s is listed after %s, and was loaded before", p.Name, l.doc.Patches[i-1].Name)
		}
	}
	return wrong
}

// incoherent lists what cannot be in the description of one live patch, whatever
// its state is.
func incoherent(p *host.Patch) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	moving := p.State == host.Patching || p.State == host.Unpatching
	known := selftestPatches[p.Name]
	if moving != (p.Transition != nil) {
		say("%s, and in a transition: %t", p.State, p.Transition != nil)
	}
	if (p.State == host.Disabled) != (len(p.Objects) == 0) {
		say("%s, with %d objects", p.State, len(p.Objects))
	}
	if p.Transition != nil && p.Transition.Total == 0 {
		say("a transition of no task")
	}
	if p.Users < 0 || !strings.Contains(p.Taint, "K") || p.Path != "" || p.SinceFrom == "load" || p.Forced {
		say("%d users, taint %q, from %q since %q, forced %t", p.Users, p.Taint, p.Path, p.SinceFrom, p.Forced)
	}
	for _, n := range p.Notes {
		if !strings.Contains(n, "if that stays so") {
			say("note %q, and it is removed a moment later", n)
		}
	}
	seen := map[string][]string{}
	for _, o := range p.Objects {
		seen[o.Name] = nil
		for _, f := range o.Functions {
			seen[o.Name] = append(seen[o.Name], f.Name)
			if f.Sympos != 1 || f.Live && (!o.Patched || f.CoveredBy != "" || p.State != host.Enabled && p.State != host.Patching) {
				say("%s, %s patched: %t, %+v", p.State, o.Name, o.Patched, f)
			}
		}
	}
	if p.State == host.Enabled && !maps.EqualFunc(seen, known, slices.Equal) {
		say("changes %v, not %v", seen, known)
	}
	if moving { // one that replaces others has, until then, their functions, too
		for object, functions := range known {
			for _, f := range functions {
				if !slices.Contains(seen[object], f) {
					say("%s: no %s:%s in %v", p.State, object, f, seen)
				}
			}
		}
	}
	return wrong
}

// notLive lists what is wrong in the description of a live patch that was
// enabled for all of the time.
func (c *course) notLive(p *host.Patch, from, to int64) (wrong []string) {
	for _, o := range p.Objects {
		want := []string{on}
		if isTarget(o.Name) {
			want = may(c.targets[o.Name], from, to, off)
		}
		is := off
		if o.Patched {
			is = on
		}
		if !slices.Contains(want, is) {
			wrong = append(wrong, fmt.Sprintf("%s: object %s is %s, and was %s", p.Name, o.Name, is, strings.Join(want, " or ")))
		}
		for _, f := range o.Functions {
			replacer := f.CoveredBy != "" && c.loaded(f.CoveredBy, to).replacing && slices.Contains(may(c.patches[f.CoveredBy], from, to, absent), host.Patching)
			if f.Live != o.Patched && !replacer {
				wrong = append(wrong, fmt.Sprintf("%s: %s:%s live: %t, covered by %q", p.Name, o.Name, f.Name, f.Live, f.CoveredBy))
			}
		}
	}
	return wrong
}

// stateText tells states apart.
func stateText(l sight) string {
	var all []string
	for name, state := range l.states {
		all = append(all, strings.TrimPrefix(name, "test_klp_")+" "+state)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

// judge holds all looks against the course, and returns how often each state was
// seen.
func (c *course) judge(t *testing.T, who string, looks []sight) map[string]int {
	t.Helper()
	seen, wrong := map[string]int{}, 0
	for _, l := range looks {
		seen[stateText(l)]++
		for _, w := range c.untrue(l) {
			if wrong++; wrong <= 20 {
				t.Errorf("%s: %s", who, w)
			}
		}
	}
	t.Logf("%s: %d looks, %d different states, %d untrue", who, len(looks), len(seen), wrong)
	return seen
}

// complete: what was enabled for longer than a second and two looks was seen, and so was most
// of what can be seen at all. With several CPUs that is the transitions, too.
func (c *course) complete(t *testing.T, looks []sight, seen map[string]int, cpus int) {
	t.Helper()
	long, unseen, short, missed := 0, 0, 0, 0
	names := map[string]bool{}
	// On a machine that is busy, so is the guest, and a look may take seconds.
	patience := time.Second.Microseconds()
	for _, l := range looks {
		patience = max(patience, time.Second.Microseconds()+2*(l.to-l.from))
	}
	for _, p := range c.periods {
		names[p.name] = true
		seen := slices.ContainsFunc(looks, func(l sight) bool {
			return l.states[p.name] == host.Enabled && l.to-c.clock >= p.from && (p.to == 0 || l.from-c.clock <= p.to)
		})
		switch {
		case p.to == 0:
			t.Errorf("%s was enabled and never disabled", p.name)
		case p.to-p.from <= patience:
			if short++; !seen {
				missed++
			}
		default:
			if long++; !seen {
				unseen++
				t.Errorf("%s was enabled from %d to %d and not seen", p.name, p.from, p.to)
			}
		}
	}
	if long+short == 0 {
		t.Error("no live patch was enabled by the kernel log")
	}
	var all []string
	for s, n := range seen {
		all = append(all, fmt.Sprintf("%s (%d)", s, n))
	}
	slices.Sort(all)
	text := strings.Join(all, "; ")
	t.Logf("seen: %s", text)
	least := 3 // nothing, one, and one that is disabled: where all is quick
	if cpus > 1 {
		least = 2 * len(names)
	}
	if len(seen) < least || cpus > 1 && (!strings.Contains(text, " patching") || !strings.Contains(text, " unpatching")) {
		t.Errorf("%d states of %d live patches are less than there was to see", len(seen), len(names))
	}
	t.Logf("enabled for longer than %d ms (a second and two looks): %d times, %d not seen; for less: %d times, %d not seen", patience/1000, long, unseen, short, missed)
}

// explained: who holds a transition up is named.
func (c *course) explained(t *testing.T, looks []sight) {
	t.Helper()
	for _, s := range c.stalls {
		within, named := 0, 0
		for _, l := range looks {
			if l.from-c.clock < s.from || l.to-c.clock > s.to {
				continue
			}
			within++
			for _, p := range l.doc.Patches {
				if p.Transition != nil && slices.ContainsFunc(p.Transition.Tasks, func(t host.Task) bool {
					return t.Kthread && t.Function == "test_klp_callbacks_busy:busymod_work_func"
				}) {
					named++
				}
			}
		}
		t.Logf("stalled for %d ms: %d looks, %d name the function that is waited for", (s.to-s.from)/1000, within, named)
		if s.to == 0 || named == 0 && within > 0 { // one CPU that counts instructions is through in less than a look takes
			t.Errorf("nobody is named who holds up the transition from %d to %d", s.from, s.to)
		}
	}
}

// steady: watchers do not grow, once Go's heap has the size that it has between
// collections. They have up to two files open while they look.
func steady(t *testing.T, text string) {
	t.Helper()
	memory, files := map[string][]int{}, map[string][]int{}
	for line := range strings.Lines(text) {
		var at, rss, open int
		var name string
		if n, err := fmt.Sscan(line, &at, &name, &rss, &open); n != 4 {
			t.Fatalf("%v in %q", err, line)
		}
		memory[name], files[name] = append(memory[name], rss), append(files[name], open)
	}
	if len(memory) != 2 {
		t.Fatalf("memory of %d watchers", len(memory))
	}
	for name, m := range memory {
		f := files[name]
		last, lastFiles := m[len(m)-1], f[len(f)-1]
		t.Logf("%s --watch: memory %d KiB at first, %d at last, %d at most; files %d, %d, %d", name, m[0], last, slices.Max(m), f[0], lastFiles, slices.Max(f))
		const heap, most = 8 << 10, 40 << 10
		if half := slices.Max(m[:(len(m)+1)/2]); len(m) < 2 || last > half+heap || slices.Max(m) > most || lastFiles > slices.Min(f)+2 {
			t.Errorf("%s --watch grows: memory %v, files %v", name, m, f)
		}
	}
}
