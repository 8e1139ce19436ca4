// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/kernel"
)

const (
	livepatchDir = "/sys/kernel/livepatch"
	moduleDir    = "/sys/module"
)

// States of a live patch.
const (
	Enabled    = "enabled"    // its functions are live
	Patching   = "patching"   // in transition to the new code
	Unpatching = "unpatching" // in transition to the old code
	Disabled   = "disabled"   // loaded and without effect: disabled, or replaced by another one
)

// Patch is one live patch as the kernel shows it.
type Patch struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`
	Objects   []Object   `json:"objects"` // empty when disabled: the kernel no longer says
	Since     *time.Time `json:"since"`   // null: not known
	SinceFrom string     `json:"since_from,omitempty"`
	Path      string     `json:"path,omitempty"`
	SHA256    string     `json:"sha256,omitempty"`
	BuildID   string     `json:"build_id,omitempty"`
	Taint     string     `json:"taint"`
	Users     int        `json:"users"`
	Forced    bool       `json:"forced,omitempty"`
	// Transition is null unless the patch is in one.
	Transition *Transition `json:"transition"`
	Notes      []string    `json:"notes,omitempty"`
}

// Object is what a live patch changes of vmlinux, or of one module.
type Object struct {
	Name      string     `json:"name"`
	Patched   bool       `json:"patched"` // false: the module is not loaded
	Functions []Function `json:"functions"`
}

// Function is one replaced function.
type Function struct {
	Name   string `json:"name"`
	Sympos int    `json:"sympos"` // as sysfs has it: 1 is the only one of the name, or the first
	// Live tells that this patch's code is what runs, once the transition is over.
	Live      bool   `json:"live"`
	CoveredBy string `json:"covered_by,omitempty"` // a patch loaded later replaces it, too
}

// Status is all live patches of a host.
type Status struct {
	Version  int       `json:"version"`
	Time     time.Time `json:"time"` // when the kernel was asked
	Release  string    `json:"release"`
	KernelID string    `json:"kernel_build_id"`
	Taint    string    `json:"taint"`   // of the kernel
	Patches  []Patch   `json:"patches"` // in the order of their loads
	// Asked are the names that were asked for, if not all live patches were: there
	// may be more of them.
	Asked []string `json:"asked,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// Status asks the kernel for all live patches. With names, only those are given
// (a name that is not there is left out). It changes nothing and needs no rights,
// but who holds up a transition is shown to root alone.
func (h *Host) Status(names ...string) (*Status, error) {
	s := &Status{Version: 1, Time: h.System.Now(), Patches: []Patch{}, Asked: names}
	var err error
	if s.KernelID, err = h.runningBuildID(); err != nil {
		return nil, err
	}
	if s.Release, err = h.System.Release(); err != nil {
		return nil, err
	}
	// Live patches are read one after the other, and all tasks of one that is in
	// transition: what changed meanwhile is read again.
	for range atMost {
		all, err := h.patches()
		if err != nil {
			return nil, err
		}
		s.Patches = h.describe(all, names)
		again, err := h.patches()
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(all, again, func(a, b Patch) bool { return a.Name == b.Name && a.State == b.State }) {
			break
		}
	}
	s.Taint = h.kernelTaint()
	if n := h.readTrimmed("/proc/sys/kernel/ftrace_enabled", 8); n == "0" {
		s.Notes = append(s.Notes, "kernel.ftrace_enabled is 0: no live patch can be loaded")
	}
	return s, nil
}

// describe adds what is known of live patches, and gives those with the names,
// or all.
func (h *Host) describe(all []Patch, names []string) []Patch {
	cover(all)
	out := []Patch{}
	for i := range all {
		p := &all[i]
		if len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		h.recall(p)
		if p.State == Patching || p.State == Unpatching {
			p.Transition = h.remaining(p)
		}
		out = append(out, *p)
	}
	return out
}

// patches reads all live patches, in the order of their loads.
func (h *Host) patches() ([]Patch, error) {
	dirs, err := os.ReadDir(h.path(livepatchDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Refusal{Code: CodeNoLivepatch, Where: livepatchDir, Why: "it is not there", Advice: "use a kernel with CONFIG_LIVEPATCH, and mount sysfs"}
	}
	if err != nil {
		return nil, fmt.Errorf("list live patches: %w", err)
	}
	shown := map[string]bool{}
	for _, d := range dirs {
		shown[d.Name()] = d.IsDir()
	}
	var out []Patch
	for _, name := range h.loadOrder() {
		taint := h.moduleTaint(name)
		if !shown[name] && !strings.Contains(taint, "K") {
			continue
		}
		// In this order: a live patch has its directory from before its module is
		// "live" until it is disabled. One that is still "coming" is none yet.
		live := h.initState(name) == "live"
		if p, ok := h.patch(name); ok {
			out = append(out, *p)
		} else if live {
			out = append(out, Patch{Name: name, State: Disabled, Objects: []Object{}, Taint: taint, Users: h.users(name), BuildID: h.moduleBuildID(name)})
		}
	}
	return out, nil
}

// loadOrder lists all modules, the first loaded first: /proc/modules has the
// newest first (kernel/module/main.c adds at the head of the list).
func (h *Host) loadOrder() (names []string) {
	data, err := h.readBounded("/proc/modules", 8<<20)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == plainName(f[0]) {
			names = append(names, f[0])
		}
	}
	slices.Reverse(names)
	return names
}

// plainName is name, or "" if it is not one: it becomes part of a path.
func plainName(name string) string {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") || len(name) > 128 {
		return ""
	}
	return name
}

// atMost is how often something is read again that changed meanwhile.
const atMost = 10

// stateOf reads the state of a live patch that has a directory; "" if it has none
// (any more), or its module is only about to make a live patch of itself.
func (h *Host) stateOf(name string) string {
	dir := livepatchDir + "/" + name
	for range atMost {
		enabled := h.readTrimmed(dir+"/enabled", 8)
		moving := h.readTrimmed(dir+"/transition", 8) == "1"
		coming := h.initState(name) == "coming"
		if h.readTrimmed(dir+"/enabled", 8) != enabled {
			continue // the others may be of before or after that
		}
		switch {
		case enabled == "":
			return ""
		// While the module's init function runs, "enabled" is still 0
		// (kernel/livepatch/core.c, __klp_enable_patch).
		case moving && (enabled == "1" || coming):
			return Patching
		case moving:
			return Unpatching
		case enabled == "1":
			return Enabled
		case coming:
			return ""
		}
		return Disabled
	}
	return ""
}

// patch reads one live patch; false if it is not there (any more).
func (h *Host) patch(name string) (*Patch, bool) {
	var p *Patch
	for range atMost {
		state := h.stateOf(name)
		if state == "" {
			return nil, false
		}
		p = &Patch{Name: name, State: state, Objects: []Object{}, Taint: h.moduleTaint(name), Users: h.users(name), BuildID: h.moduleBuildID(name)}
		if state == Disabled {
			break // its objects are on their way out
		}
		p.Objects = h.objects(name)
		if h.stateOf(name) == state {
			break
		}
	}
	return p, true
}

// objects reads what a live patch replaces, as far as its directory is there.
func (h *Host) objects(name string) []Object {
	dir := livepatchDir + "/" + name
	out := []Object{}
	objects, _ := os.ReadDir(h.path(dir))
	for _, o := range objects {
		if o.IsDir() {
			out = append(out, h.object(dir+"/"+o.Name(), o.Name()))
		}
	}
	// vmlinux first, as everywhere in kmend.
	if i := slices.IndexFunc(out, func(o Object) bool { return o.Name == "vmlinux" }); i > 0 {
		image := out[i]
		out = slices.Insert(slices.Delete(out, i, i+1), 0, image)
	}
	return out
}

func (h *Host) object(dir, name string) Object {
	o := Object{Name: name, Patched: h.readTrimmed(dir+"/patched", 8) == "1", Functions: []Function{}}
	funcs, _ := os.ReadDir(h.path(dir))
	for _, f := range funcs {
		fn, pos, ok := strings.Cut(f.Name(), ",")
		n, err := strconv.Atoi(pos)
		if f.IsDir() && ok && err == nil {
			o.Functions = append(o.Functions, Function{Name: fn, Sympos: n, Live: o.Patched})
		}
	}
	return o
}

// cover marks functions that a later patch replaces as well: of several, the
// one loaded last is what runs (kernel/livepatch/patch.c, klp_ftrace_handler).
func cover(all []Patch) {
	type key struct {
		object, name string
		pos          int
	}
	last := map[key]string{}
	for i := len(all) - 1; i >= 0; i-- {
		p := &all[i]
		live := p.State == Enabled || p.State == Patching
		for j := range p.Objects {
			for k := range p.Objects[j].Functions {
				f := &p.Objects[j].Functions[k]
				at := key{p.Objects[j].Name, f.Name, f.Sympos}
				f.CoveredBy = last[at]
				f.Live = f.Live && live && f.CoveredBy == ""
				if live && last[at] == "" {
					last[at] = p.Name
				}
			}
		}
	}
}

// recall adds what kmend remembers of a patch.
func (h *Host) recall(p *Patch) {
	r, err := h.record(p.Name)
	if err != nil {
		p.Notes = append(p.Notes, err.Error())
	}
	if r != nil {
		p.Since, p.SinceFrom, p.Path, p.SHA256, p.Forced = &r.Since, "load", r.Path, r.SHA256, r.Forced
		if r.State == stateLoading && p.State == Enabled {
			p.Notes = append(p.Notes, "the kmend that loaded it was ended before it saw the transition through; it is complete now")
		}
		if r.State == stateUnloading && (p.State == Enabled || p.State == Patching) {
			p.Notes = append(p.Notes, "the kmend that unloaded it was ended; finish it with kmend unload "+p.Name)
		}
	} else if info, err := os.Stat(h.path(livepatchDir, p.Name)); err == nil {
		// The kernel sets this time when the directory is first looked at, not
		// when it is made: it has been loaded at least since then.
		t := info.ModTime()
		p.Since, p.SinceFrom = &t, "sysfs"
	}
	if p.State == Disabled && p.Users > 0 {
		p.Notes = append(p.Notes, "it is disabled and its code is not used, but something holds it: if that stays so, it cannot be removed before a reboot")
	}
}

// initState is "coming", "live" or "going"; "" for a module that is not there.
func (h *Host) initState(name string) string {
	return h.readTrimmed(moduleDir+"/"+name+"/initstate", 16)
}

func (h *Host) moduleLoaded(name string) bool {
	_, err := os.Stat(h.path(moduleDir, name, "initstate")) // built-in ones have none
	return err == nil
}

func (h *Host) moduleTaint(name string) string {
	return h.readTrimmed(moduleDir+"/"+name+"/taint", 32)
}

func (h *Host) users(name string) int {
	n, err := strconv.Atoi(h.readTrimmed(moduleDir+"/"+name+"/refcnt", 16))
	if err != nil {
		return 0
	}
	return max(n, 0) // -1 while it is removed
}

func (h *Host) moduleBuildID(name string) string {
	data, err := h.readBounded(moduleDir+"/"+name+"/notes/.note.gnu.build-id", 4096)
	if err != nil {
		return ""
	}
	return kernel.GNUBuildID(data)
}

func (h *Host) runningBuildID() (string, error) {
	data, err := h.readBounded("/sys/kernel/notes", 64<<10)
	if err != nil {
		return "", fmt.Errorf("build id of the running kernel: %w", err)
	}
	id := kernel.GNUBuildID(data)
	if id == "" {
		return "", errors.New("build id of the running kernel: there is none in /sys/kernel/notes: build it with --build-id, as kernels since 2.6.23 are")
	}
	return id, nil
}

// taintLetters are the taint flags by bit (kernel/panic.c, taint_flags).
const taintLetters = "PFSRMBUDAWCIOELKXTN"

func (h *Host) kernelTaint() string {
	n, err := strconv.ParseUint(h.readTrimmed("/proc/sys/kernel/tainted", 32), 10, 64)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for i, c := range taintLetters {
		if n&(1<<i) != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// readBounded reads a file of sysfs or proc, whose sizes say nothing. It asks the
// kernel itself: package os makes twice as many system calls for a file, and to
// look at all threads of a machine takes tens of thousands of these.
func (h *Host) readBounded(path string, most int) ([]byte, error) {
	file := h.path(path)
	fd, err := retried(func() (int, error) { return unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	data := make([]byte, 0, min(most, 512))
	for len(data) < most {
		data = slices.Grow(data, 1)
		n, err := retried(func() (int, error) { return unix.Read(fd, data[len(data):min(cap(data), most)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: file, Err: err}
		}
		if n == 0 {
			break
		}
		data = data[:len(data)+n]
	}
	return data, nil
}

// retried makes a system call until no signal breaks it off.
func retried(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (h *Host) readTrimmed(path string, most int) string {
	b, err := h.readBounded(path, most)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
