// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"kmend/internal/closure"
	"kmend/internal/delta"
	"kmend/internal/kernel"
	"kmend/internal/object"
	"kmend/internal/runpre"
)

// Vmlinux is the object name of everything built in.
const Vmlinux = "vmlinux"

// Found says where in the running kernel a needed symbol is.
type Found struct {
	Reference
	CRC       uint32
	Namespace string
	Target    *object.Symbol // ByPatch: in another unit's piece
}

// resolver finds the needs of one unit in the running kernel.
type resolver struct {
	k       *kernel.Kernel
	object  string // the unit's kernel object
	before  *object.File
	match   *runpre.UnitMatch
	modules *moduleCache
	depends map[string]bool // modules that are loaded whenever object is
}

// newResolver finds the needs of a unit.
func newResolver(k *kernel.Kernel, w *work, modules *moduleCache) (*resolver, error) {
	r := &resolver{k: k, object: w.object, before: w.result.Before.File, match: w.match, modules: modules, depends: map[string]bool{}}
	if w.object == Vmlinux {
		return r, nil
	}
	deps, err := k.ModuleDepends(w.object)
	for _, d := range deps {
		r.depends[d] = true
	}
	return r, err
}

// notFound explains why a need could not be resolved.
type notFound struct{ code, why, advice string }

func (e *notFound) Error() string { return e.why }

// resolve finds one need. The error is a *notFound, or an I/O error.
func (r *resolver) resolve(n *closure.Need) (*Found, error) {
	if n.Item == nil || n.Before.IsGlobal() {
		if f := r.export(n.Name()); f != nil {
			return f, nil
		}
	}
	var f *Found
	var err error
	switch {
	case n.Item == nil && r.object == Vmlinux:
		f, err = r.vmlinuxExtern(n.Extern)
	case n.Item == nil:
		f, err = r.moduleExtern(n.Extern)
	default:
		f, err = r.item(n)
	}
	if err != nil {
		return nil, err
	}
	if f.Sympos < 0 {
		return nil, &notFound{CodeAmbiguousSymbol,
			fmt.Sprintf("several symbols named %s are in %s, some in sections that are freed after start, so its position is not stable", f.Name, f.Object),
			"patch a function that does not need it"}
	}
	return f, nil
}

// export resolves through the exported symbols. Exports of modules are bound
// late, as klp relocations, so that the patch depends on no module.
func (r *resolver) export(name string) *Found {
	e, ok := r.k.Export(name)
	if !ok || e.Object != Vmlinux || r.defines(name) {
		return nil
	}
	return &Found{
		Reference: Reference{Name: name, How: ByExport, Object: Vmlinux, Proof: "exported by vmlinux"},
		CRC:       e.CRC, Namespace: e.Namespace,
	}
}

// defines reports whether the unit's module has a global symbol of that name
// itself: its own code was linked to that one, not to an export of vmlinux.
func (r *resolver) defines(name string) bool {
	if r.object == Vmlinux {
		return false
	}
	ko, err := r.modules.get(r.object)
	if err != nil {
		return true // whoever resolves it otherwise meets the same error
	}
	for _, s := range ko.Symbols {
		if s.Name == name && s.Section != nil && !s.IsLocal() && !s.IsSection() {
			return true
		}
	}
	return false
}

// vmlinuxExtern finds a global symbol of another built-in object. The name
// counts: kallsyms has it once in upper case, or run-pre matching has seen
// where the running code finds it.
func (r *resolver) vmlinuxExtern(name string) (*Found, error) {
	img, err := r.k.Image()
	if err != nil {
		return nil, err
	}
	table := img.Symbols()
	var global []kernel.Symbol
	for _, s := range table.Lookup(name) {
		if isGlobalType(s.Type) {
			global = append(global, s)
		}
	}
	if len(global) == 0 {
		return nil, &notFound{CodeUnresolved, fmt.Sprintf("no global symbol %s is in the running kernel", name),
			"the fix may need another fix of the same release, or code this configuration does not build"}
	}
	if len(global) > 1 {
		return nil, &notFound{CodeAmbiguousSymbol, fmt.Sprintf("%d global symbols named %s are in the running kernel", len(global), name),
			"report this: a linked image should not have them"}
	}
	proof := "the only global symbol of that name"
	if v, ok := r.valueOf(name); ok {
		if v.Addr != global[0].Addr {
			return nil, &notFound{CodeUnproved, fmt.Sprintf("running code finds %s at %#x, the symbol table at %#x", name, v.Addr, global[0].Addr),
				"the image and its symbol table disagree; add the kernel again"}
		}
		proof += ", and where running code finds it"
	}
	return &Found{Reference: Reference{Name: name, How: ByKlp, Object: Vmlinux, Sympos: table.Sympos(global[0]), Proof: proof}}, nil
}

// isGlobalType tells nm's letters for global symbols; 'w' and 'v' are weak
// undefined ones, which a linked image does not have.
func isGlobalType(t byte) bool { return t >= 'A' && t <= 'Z' }

// valueOf is where matched running code finds the symbol of that name.
func (r *resolver) valueOf(name string) (runpre.Value, bool) {
	for s, v := range r.match.Values {
		if s.Name == name && !s.IsSection() && !s.IsLocal() {
			return v, true
		}
	}
	return runpre.Value{}, false
}

// moduleExtern finds a symbol that a module's unit does not define: in another
// unit of the module, or exported by a module it depends on.
func (r *resolver) moduleExtern(name string) (*Found, error) {
	owner, proof := r.object, "defined by another unit of the module"
	if e, ok := r.k.Export(name); ok && e.Object != r.object {
		if !r.depends[e.Object] {
			return nil, &notFound{CodeUnresolved, fmt.Sprintf("%s is exported by %s, which %s does not depend on", name, e.Object, r.object),
				"the fix would need that module to be loaded first; reboot into a fixed kernel"}
		}
		owner, proof = e.Object, "exported by "+e.Object
	}
	ko, err := r.modules.get(owner)
	if err != nil {
		return nil, err
	}
	var global *object.Symbol
	for _, s := range ko.Symbols {
		if s.Name == name && s.Section != nil && !s.IsLocal() {
			if global != nil {
				return nil, &notFound{CodeAmbiguousSymbol, fmt.Sprintf("%s has two global symbols named %s", owner, name), "report this"}
			}
			global = s
		}
	}
	if global == nil {
		return nil, &notFound{CodeUnresolved, fmt.Sprintf("neither %s nor an export has a symbol %s", owner, name),
			"the fix may need another fix of the same release, or a symbol that modules may not use"}
	}
	if isInitSection(global.Section.Name) {
		return nil, &notFound{CodeInitReference, fmt.Sprintf("%s lies in %s of %s, which is freed after start", name, global.Section.Name, owner),
			"patch a function that does not use init code or data"}
	}
	pos, ok := runpre.ModuleSympos(ko, global)
	if !ok {
		pos = -1
	}
	return &Found{Reference: Reference{Name: name, How: ByKlp, Object: owner, Sympos: pos, Proof: proof}}, nil
}

func isInitSection(name string) bool {
	return strings.HasPrefix(name, ".init") || strings.HasPrefix(name, ".exit")
}

// item finds a function or variable of the unit itself. Only run-pre matching
// is proof: the matched running code shows where it is, and the running symbol
// table has its name there.
func (r *resolver) item(n *closure.Need) (*Found, error) {
	stem, _ := delta.Stem(n.Before.Name)
	if n.Before.Kind == delta.Func {
		return r.function(n.Before)
	}
	v, ok := r.value(n.Before)
	if !ok {
		return r.globalItem(n)
	}
	for _, s := range v.Symbols {
		if st, _ := delta.Stem(s.Name); st == stem {
			return &Found{Reference: Reference{
				Name: s.Name, How: ByKlp, Object: r.object, Sympos: s.Sympos,
				Proof: "where running code that was matched finds it (" + valuePlace(v) + ")",
			}}, nil
		}
	}
	return nil, &notFound{CodeUnproved, fmt.Sprintf("running code finds %s at %s, where the symbol table has %s", n.Before.Name, valuePlace(v), symbolNames(v.Symbols)),
		"the kernel's symbol table cannot name it; patch a function that does not use it"}
}

// globalItem finds data that no matched code refers to by its global name.
func (r *resolver) globalItem(n *closure.Need) (*Found, error) {
	for _, s := range n.Before.Symbols {
		if s.IsLocal() {
			continue
		}
		if r.object == Vmlinux {
			return r.vmlinuxExtern(s.Name)
		}
		return r.moduleExtern(s.Name)
	}
	return nil, &notFound{CodeUnproved, fmt.Sprintf("no code that could be matched shows where %s %s of the running kernel is", n.Before.Kind, n.Before.Name),
		"patch a function that does not use it"}
}

// function finds an unchanged function of the unit: it must be what runs, or
// the new code would call it with conventions it does not have.
func (r *resolver) function(it *delta.Item) (*Found, error) {
	why := "it is not in the running kernel"
	for _, s := range it.Symbols {
		m := r.match.Funcs[s]
		if m == nil {
			continue
		}
		if m.Verdict == runpre.Equal {
			return &Found{Reference: Reference{
				Name: m.Symbol.Name, How: ByKlp, Object: r.object, Sympos: m.Symbol.Sympos, Proof: "its code was matched",
			}}, nil
		}
		why = fmt.Sprintf("%s: %s", m.Verdict, m.Why)
		if m.Weak { // another object's definition is the one everybody calls
			if r.object == Vmlinux {
				return r.vmlinuxExtern(s.Name)
			}
			return r.moduleExtern(s.Name)
		}
	}
	return nil, &notFound{CodeRunPreMismatch, fmt.Sprintf("the fix needs %s as it runs, and it does not equal the source: %s", it.Name, why),
		"check that source, configuration and compiler are those of the running kernel"}
}

// value is what matching knows of an item's place. Matching holds all symbols
// of one section against each other, so any of them will do.
func (r *resolver) value(it *delta.Item) (runpre.Value, bool) {
	for _, s := range it.Symbols {
		if v, ok := r.match.Values[s]; ok {
			return v, true
		}
	}
	return runpre.Value{}, false
}

func valuePlace(v runpre.Value) string {
	if v.Section != "" {
		return fmt.Sprintf("%s+%#x", v.Section, v.Addr)
	}
	return fmt.Sprintf("%#x", v.Addr)
}

func symbolNames(syms []runpre.Symbol) string {
	if len(syms) == 0 {
		return "no symbol"
	}
	names := make([]string, len(syms))
	for i, s := range syms {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// moduleCache reads each shipped module once.
type moduleCache struct {
	k     *kernel.Kernel
	files map[string]*object.File
}

func (c *moduleCache) get(name string) (*object.File, error) {
	if f := c.files[name]; f != nil {
		return f, nil
	}
	m, err := c.k.Module(name)
	if err != nil {
		return nil, err
	}
	data, err := m.Data()
	if err != nil {
		return nil, err
	}
	f, err := object.Read(data)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	c.files[name] = f
	return f, nil
}
