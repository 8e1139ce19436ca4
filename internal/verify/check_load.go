// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"slices"
	"strings"
)

// Load says what the load will take.
type Load struct {
	// Walks counts the searches through the symbol table of vmlinux: one for
	// each klp relocation that names a symbol of vmlinux, and one for each
	// replaced function of it.
	Walks int `json:"walks"`
	// Symbols counts the entries that these searches decode and compare. On
	// kernels that look names up in a sorted table it is 0.
	Symbols int `json:"symbols"`
	// Seconds is what that takes at 10^9 instructions a second: Symbols by
	// instructionsPerSymbol. That is the speed of an emulated guest; a
	// processor of these years does a few times as many.
	Seconds float64 `json:"seconds"`
	// Later counts the searches through the symbols of all loaded modules: for
	// klp relocations and functions of modules, when those are there.
	Later int `json:"later"`
}

// instructionsPerSymbol is what one entry of kallsyms takes to be decoded and
// compared: measured with Debian's 6.1 in a guest whose clock counts
// instructions (TestLookupCost; docs/verify.md).
const instructionsPerSymbol = 438

// slowLoad is from when on a load is warned of, in seconds as in Load: about one
// second on a processor.
const slowLoad = 3.0

// load counts what klp_find_object_symbol of kernel/livepatch/core.c will do:
// up to 6.1 it walks the whole table, or up to the position that is asked for,
// for each relocation anew. From 6.2 on klp_match_callback is called for the
// entries of the name alone.
func (c *checker) load() {
	l := &c.r.Load
	all := c.im.Symbols().Len()
	sorted := len(c.im.Symbols().Lookup("klp_match_callback")) > 0
	cost := func(name string, sympos uint64) int {
		list := c.im.Symbols().Lookup(name)
		if sympos > 0 && sympos <= uint64(len(list)) {
			return list[sympos-1].Index + 1
		}
		return all
	}
	walk := func(n int, name string, sympos uint64) {
		l.Walks += n
		if !sorted {
			l.Symbols += n * cost(name, sympos)
		}
	}
	for _, s := range c.r.Symbols {
		if s.Object == vmlinux {
			walk(len(s.At), s.Name, uint64(s.Sympos))
		} else {
			l.Later += len(s.At)
		}
	}
	for _, o := range c.m.Objects {
		for _, f := range o.Funcs {
			if o.Named {
				l.Later++
			} else {
				walk(1, f.OldName, f.Sympos)
			}
		}
	}
	l.Seconds = float64(l.Symbols) * instructionsPerSymbol / 1e9
	if l.Seconds >= slowLoad {
		c.r.find(CodeSlow, "", "refer to fewer unexported symbols",
			"this kernel will walk its %d symbols %d times while the module loads: about %.1f s at 10^9 instructions a second", all, l.Walks, l.Seconds)
	}
}

// effects notes what the load does beyond replacing functions.
func (c *checker) effects() {
	if c.m.Replace && !c.m.replaceUnknown {
		c.r.find(CodeReplace, "", "see that it contains their fixes", "it replaces all (klp_patch.replace): loading it disables every livepatch that is loaded, and they can be unloaded then")
	}
	if c.m.MadeAtInit {
		c.r.find(CodeMadeAtInit, kpatchFuncs, "", "its init function makes struct klp_patch out of this section, as kpatch's does; that it does so, and what it does besides, was not judged")
	}
	if c.m.replaceUnknown {
		c.r.find(CodeReplaceUnknown, "", "ask who made it, or look at the states of other livepatches after a load elsewhere", "whether it replaces all livepatches that are loaded is decided by its init function, and was not found in there: it is taken as if it did")
	}
	for _, s := range c.m.file.Sections {
		if !strings.HasPrefix(s.Name, ".init.text") {
			continue
		}
		for _, r := range s.Relocs {
			if r.Sym != nil && r.Sym.IsUndefined() && (r.Sym.Name == "__module_get" || r.Sym.Name == "try_module_get") {
				c.r.find(CodePinned, "", "", "its init function takes a reference to a module (%s): if that is itself, it can be disabled and not unloaded", r.Sym.Name)
				return
			}
		}
	}
}

// reload warns of modules that cannot be loaded again: up to 6.2 the kernel
// does not clear the relocations that it wrote into the livepatch for a module
// when that goes (no clear_relocate_add), and refuses to write them once more.
func (c *checker) reload() {
	if len(c.im.Symbols().Lookup("clear_relocate_add")) > 0 {
		return
	}
	var names []string
	for _, x := range c.m.Relocs {
		if x.Object != vmlinux && x.Count > 0 && !slices.Contains(names, x.Object) && len(names) < maxModules {
			names = append(names, x.Object)
		}
	}
	for _, name := range names {
		c.r.find(CodeReload, name, "do not unload it, or unload the livepatch before it is loaded again",
			"once this module is unloaded it cannot be loaded again while the livepatch stays loaded: this kernel finds the relocations of %s already written and refuses it", strings.Join(c.sectionsOf(name), ", "))
	}
}

// sectionsOf names the .klp.rela sections of a module, not more than a few.
func (c *checker) sectionsOf(name string) []string {
	var out []string
	for _, x := range c.m.Relocs {
		if x.Object == name && x.Count > 0 && len(out) < 4 {
			out = append(out, x.Section)
		}
	}
	return out
}
