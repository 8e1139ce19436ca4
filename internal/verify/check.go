// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/kernel"
	"kmend/internal/klp"
	"kmend/internal/object"
)

// Verifier holds modules against one kernel. It reads the kernel once, and is
// for one caller at a time.
type Verifier struct {
	// Signatures reads what is appended to modules. Without it, a signature is
	// reported to be there, and not by whom.
	Signatures SignatureReader

	k     *kernel.Kernel
	im    *kernel.Image
	facts *klp.Facts
	locs  []uint64 // see mcountLocs
	mods  map[string]*moduleSymbols
	names map[string]bool // of the kernel's modules; kernel.Module looks for similar ones, too
}

// New reads of kernel k what modules are held against.
func New(k *kernel.Kernel) (*Verifier, error) {
	facts, err := klp.FactsOf(k)
	if err != nil {
		return nil, fmt.Errorf("verify livepatch modules: %w", err)
	}
	im, err := k.Image()
	if err != nil {
		return nil, fmt.Errorf("verify livepatch modules: %w", err)
	}
	v := &Verifier{k: k, im: im, facts: facts, mods: map[string]*moduleSymbols{}, names: map[string]bool{}}
	for _, m := range k.Modules() {
		v.names[m.Name] = true
	}
	return v, nil
}

// Check holds the bytes of a livepatch module against kernel k. The error says
// that the module or the kernel could not be read at all; everything that can
// be said about a readable module is in the report.
func Check(k *kernel.Kernel, data []byte) (*Report, error) {
	v, err := New(k)
	if err != nil {
		return nil, err
	}
	return v.Check(data)
}

// Check holds the bytes of a livepatch module against the verifier's kernel; see
// the function Check. A kernel module that is no livepatch is an error.
func (v *Verifier) Check(data []byte) (*Report, error) {
	m, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("verify livepatch module: %w", err)
	}
	if !m.isLivepatch() {
		return nil, fmt.Errorf("verify livepatch module %.60s: nothing in it says that it is one: give a livepatch module", m.Name)
	}
	if len(v.mods) > 4*maxModules {
		clear(v.mods) // the next ones are not likely to be asked for the same
	}
	c := &checker{Verifier: v, m: m, data: data, asked: map[string]bool{}, importNS: map[string]bool{}, depends: map[string]bool{}, symbolAt: map[klpUse]int{}}
	c.r = &Report{Module: m, Taint: []Taint{}, Symbols: []Resolved{}, Objections: []Finding{}, Warnings: []Finding{}, Notes: []Finding{}}
	c.check()
	return c.r, nil
}

// isLivepatch tells a livepatch from any other module: by its modinfo, by what
// it calls, or by what only livepatches have.
func (m *Module) isLivepatch() bool {
	_, tagged := m.Tag("livepatch")
	return tagged || len(m.Relocs) > 0 || slices.ContainsFunc(m.Exports, func(e Export) bool { return e.Name == "klp_enable_patch" })
}

// checker holds one module against a kernel.
type checker struct {
	*Verifier
	m        *Module
	r        *Report
	data     []byte
	asked    map[string]bool // modules of the kernel that were read for this one
	importNS map[string]bool // modinfo import_ns
	depends  map[string]bool // modinfo depends
	symbolAt map[klpUse]int  // index into r.Symbols
}

// check fills the report.
func (c *checker) check() {
	c.modinfo()
	c.origin()
	c.dependencies()
	c.signature()
	c.sections()
	c.symbols()
	c.thisModule()
	switch err := c.m.decode(c.facts); {
	case err == errTooMany:
		c.r.find(CodeTooMany, "", "split the livepatch", "%v", err)
	case err != nil:
		c.r.find(CodeLivepatch, "", "build it for this kernel", "%v", err)
	default:
		c.objects()
		c.reload()
	}
	c.exports()
	c.relocations()
	c.klpSections()
	entries, ok := c.special()
	if ok {
		c.orc(entries)
		c.branches(entries)
	}
	c.coverage()
	c.effects()
	c.load()
}

// dropped are the sections that the loader uses and does not keep.
func dropped(name string) bool { return name == ".modinfo" || name == "__versions" }

func (c *checker) sections() {
	seen := map[string]bool{}
	for _, s := range c.m.raw {
		if s.flags&uint64(elf.SHF_ALLOC) == 0 {
			continue
		}
		if seen[s.name] && s.size > 0 {
			c.r.find(CodeDuplicate, s.name, "merge the sections", "two loaded sections have this name: the kernel warns when it lists them in sysfs")
		}
		seen[s.name] = true
		switch {
		case s.flags&uint64(elf.SHF_WRITE) != 0 && s.flags&uint64(elf.SHF_EXECINSTR) != 0:
			c.r.find(CodeSections, s.name, "", "it is writable and executable: the loader refuses it")
		case strings.HasPrefix(s.name, "__ksymtab") || strings.HasPrefix(s.name, "__kcrctab"):
			if s.size > 0 {
				c.r.find(CodeExports, s.name, "", "the livepatch exports symbols: modules that use them keep it from going away")
			}
		case strings.HasPrefix(s.name, ".data..percpu") && s.size > 0:
			c.r.find(CodePerCPU, s.name, "", "it defines per-CPU data of its own")
		}
	}
	for _, s := range c.m.raw {
		if s.name == ".BTF" {
			c.r.find(CodeBTF, s.name, "strip it", "its types must have been made against exactly this kernel's")
		}
	}
}

// symbols looks for what simplify_symbols (kernel/module/main.c) refuses.
func (c *checker) symbols() {
	for _, s := range c.m.file.Symbols {
		switch {
		case s.Section != nil || s.IsUndefined() || s.Shndx == object.Abs:
			if s.Section != nil && s.Value > s.Section.Size {
				c.r.find(CodeSymbol, s.Name, "", "it lies at %#x of section %s, which has %#x bytes", s.Value, s.Section.Name, s.Section.Size)
			}
		case s.Shndx == object.Common:
			c.r.find(CodeSymbol, s.Name, "compile with -fno-common", "it is a common symbol")
		case s.Shndx == object.Livepatch:
			if _, err := parseKlpSymbol(s.Name); err != nil {
				c.r.find(CodeKlpForm, s.Name, "", "%v", err)
			}
		default:
			c.r.find(CodeSymbol, s.Name, "", "its section number %#x means nothing to the loader", s.Shndx)
		}
		if strings.HasPrefix(s.Name, klpSymPrefix) && s.Shndx != object.Livepatch {
			c.r.find(CodeKlpForm, s.Name, "its section number must be 0xff20", "it has the name of a livepatch symbol but is none: the loader will not leave it alone")
		}
	}
}

func (c *checker) thisModule() {
	s := c.m.file.Section(secThis)
	advice := "build it for this kernel"
	if s.Size != c.facts.Module.Size || uint64(len(s.Data)) != s.Size {
		c.r.find(CodeThisModule, s.Name, advice, "struct module has %d bytes, the kernel's has %d: it does not check", s.Size, c.facts.Module.Size)
		return
	}
	name, _, _ := strings.Cut(string(s.Data[c.facts.Module.Name:c.facts.Module.Name+c.facts.Module.NameLen]), "\x00")
	if name != c.m.Name {
		c.r.find(CodeThisModule, s.Name, advice, "the module is called %.60q there and %.60q in modinfo", name, c.m.Name)
	}
	var init, exit bool
	for _, r := range s.Relocs {
		code := r.Sym != nil && r.Sym.Section != nil && r.Sym.Section.IsExec() && elf.R_X86_64(r.Type) == elf.R_X86_64_64
		switch {
		case r.Offset == c.facts.Module.Init && code:
			init = true
		case r.Offset == c.facts.Module.Exit && code:
			exit = true
		default:
			c.r.find(CodeThisModule, fmt.Sprintf("%s+%#x", s.Name, r.Offset), advice, "a pointer at neither init (%#x) nor exit (%#x)", c.facts.Module.Init, c.facts.Module.Exit)
		}
	}
	if !init {
		c.r.find(CodeEnable, s.Name, "", "there is no init function: the patch is never enabled")
	}
	if !exit {
		c.r.find(CodeNoExit, s.Name, "", "there is no exit function: the module can never be unloaded")
	}
	if !slices.ContainsFunc(c.m.Exports, func(e Export) bool { return e.Name == "klp_enable_patch" && e.Relocs > 0 }) {
		c.r.find(CodeEnable, "klp_enable_patch", "", "nothing calls it: the patch is never enabled")
	}
}

func (c *checker) exports() {
	known, err := c.k.Exports()
	if err != nil {
		c.r.find(CodeExport, "", "", "%v", err)
		return
	}
	if c.facts.Modversions && !slices.ContainsFunc(c.m.Exports, func(e Export) bool { return e.Name == "module_layout" && e.HasVersion }) {
		c.r.find(CodeCRC, "module_layout", "build it for this kernel", "__versions has no record of it: the loader refuses the module")
	}
	for i := range c.m.Exports {
		x := &c.m.Exports[i]
		e, ok := known[x.Name]
		x.Object = e.Object
		switch {
		case !ok && x.Weak:
			c.r.find(CodeExportWeak, x.Name, "", "nothing exports it; it is weak, so it is taken as 0")
			continue
		case !ok:
			c.r.find(CodeExport, x.Name, "an unexported symbol needs a .klp.sym reference", "neither the kernel nor its modules export it")
			continue
		case e.Namespace != "" && !c.importNS[e.Namespace]:
			c.r.find(CodeNamespace, x.Name, "import the namespace", "it is in namespace %s", e.Namespace)
			continue
		case c.facts.Modversions && (!x.HasVersion || x.CRC != e.CRC):
			c.r.find(CodeCRC, x.Name, "build it for this kernel", "its CRC is %#08x in the module (recorded: %t), %#08x in the kernel", x.CRC, x.HasVersion, e.CRC)
			continue
		case e.Object != vmlinux:
			c.r.find(CodeExportOwner, x.Name, "a .klp.sym reference would not need that", "module %s must be loaded before the livepatch, and stays as long", e.Object)
			if !c.depends[e.Object] {
				c.r.find(CodeDepends, x.Name, "insert that module by hand", "modinfo depends does not name module %s, so modprobe will not load it", e.Object)
			}
		}
		c.r.Checked.Exports++
	}
}
