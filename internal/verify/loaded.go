// SPDX-License-Identifier: Apache-2.0

package verify

import "slices"

// Loaded is what a running kernel has loaded, as plain data: whoever can see
// that kernel fills it. The kernel shows names, functions and states; of the
// rest, what is in the file that was loaded, if that is known.
type Loaded struct {
	Patches []LoadedPatch // in the order of their loads
	Modules []string      // names of all loaded modules; nil: not known
}

// LoadedPatch is one live patch that is loaded.
type LoadedPatch struct {
	Name    string
	State   LoadedState
	Objects []Object // names, and OldName and Sympos of functions; none when disabled
	BuildID string   // the module's own, "" if it has none or that is not known
	SHA256  string   // of the bytes that were loaded, "" if not known
	Path    string   // the file that they were from, "" if not known
	// Held tells of a disabled one that the kernel will not let go of.
	Held bool
	// Waits says who holds its transition up, "" if it is in none or nobody knows.
	Waits string
	// File is what is in the file that it was loaded from. Where it is nil, NotRead
	// says why, and the system states are not known: the kernel does not show them.
	File    *Module
	NotRead string
}

// LoadedState is what a loaded live patch does.
type LoadedState int

// States of loaded live patches.
const (
	LoadedEnabled    LoadedState = iota
	LoadedPatching               // in transition to its code
	LoadedUnpatching             // in transition back
	LoadedDisabled               // in memory, without effect
)

// Inspect reads a module like the function Inspect, with the facts of the
// verifier's kernel.
func (v *Verifier) Inspect(data []byte) (*Module, error) { return Inspect(data, v.facts) }

// Locate finds the functions of loaded live patches in the verifier's kernel, so
// that one function under two names is seen to be one. What is not found there
// is compared by name.
func (v *Verifier) Locate(l *Loaded) {
	c := &checker{Verifier: v, m: &Module{}, r: &Report{}, asked: map[string]bool{}}
	for i := range l.Patches {
		for j := range l.Patches[i].Objects {
			o := &l.Patches[i].Objects[j]
			for k := range o.Funcs {
				f := &o.Funcs[k]
				switch {
				case o.Name == vmlinux:
					f.Old = c.oldInVmlinux("", f)
				case c.module(o.Name).err == nil:
					f.Old = c.oldInModule("", o.Name, f)
				}
			}
		}
	}
}

// differs says why a loaded live patch is not the module of the same name, or
// cannot be shown to be; "" if it is.
func (p *LoadedPatch) differs(m *Module) string {
	switch {
	case p.SHA256 != "" && p.SHA256 == m.digest:
		return ""
	case p.SHA256 != "":
		return "from another file (sha256 " + p.SHA256 + ")"
	case p.BuildID == "" || m.BuildID == "":
		return "and nothing shows that it is this one"
	case p.BuildID != m.BuildID:
		return "with the build id " + p.BuildID
	}
	return ""
}

// module is what is known of a loaded live patch, as a module.
func (p *LoadedPatch) module() *Module {
	m := &Module{Name: p.Name, Objects: p.Objects}
	if p.File != nil {
		m.States = p.File.States
	}
	return m
}

// clears reports whether those that were loaded before are on their way out, since
// it replaces all. Once it is enabled, the kernel shows them as disabled.
func (p *LoadedPatch) clears() bool {
	return p.State == LoadedPatching && p.File != nil && p.File.Replace && !p.File.replaceUnknown
}

// said is the name of a loaded live patch with what is known of where it is from.
func (p *LoadedPatch) said() string {
	if p.Path == "" {
		return p.Name + " (loaded; kmend has no record of it)"
	}
	return p.Name + " (loaded from " + p.Path + ")"
}

// has reports whether a module of that name is loaded, if that is known.
func (l *Loaded) has(name string) bool { return slices.Contains(l.Modules, name) }
