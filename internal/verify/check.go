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

// checker holds a module against a kernel.
type checker struct {
	k     *kernel.Kernel
	im    *kernel.Image
	facts *klp.Facts
	m     *Module
	r     *Report
	mods  map[string]*moduleSymbols
	locs  []uint64 // see mcountLocs
}

// Check holds the bytes of a livepatch module against kernel k. The error says
// that the module or the kernel could not be read at all; everything that can
// be said about a readable module is in the report.
func Check(k *kernel.Kernel, data []byte) (*Report, error) {
	m, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("verify livepatch module: %w", err)
	}
	facts, err := klp.FactsOf(k)
	if err != nil {
		return nil, fmt.Errorf("verify livepatch module %s: %w", m.Name, err)
	}
	im, err := k.Image()
	if err != nil {
		return nil, fmt.Errorf("verify livepatch module %s: %w", m.Name, err)
	}
	return (&checker{k: k, im: im, facts: facts}).check(m), nil
}

// check fills a report on one module.
func (c *checker) check(m *Module) *Report {
	c.m, c.r = m, &Report{Module: m}
	if c.mods == nil {
		c.mods = map[string]*moduleSymbols{}
	}
	c.modinfo()
	c.sections()
	c.symbols()
	c.thisModule()
	if err := m.decode(c.facts); err != nil {
		c.r.object(CodeLivepatch, "", "build it for this kernel", "%v", err)
	} else {
		c.objects()
	}
	c.exports()
	c.relocations()
	c.klpSections()
	c.special()
	c.orc()
	c.coverage()
	return c.r
}

func (c *checker) modinfo() {
	r, m := c.r, c.m
	if v, ok := m.Tag("livepatch"); !ok || v == "" {
		r.object(CodeModinfo, "livepatch", "add MODULE_INFO(livepatch, \"Y\")", "it does not call itself a livepatch: klp_enable_patch will refuse it")
	}
	if v, _ := m.Tag("license"); !strings.HasPrefix(v, "GPL") && v != "Dual BSD/GPL" && v != "Dual MIT/GPL" && v != "Dual MPL/GPL" {
		r.object(CodeModinfo, "license", "a livepatch needs GPL-only exports", "the license is %.80q", v)
	}
	if v, _ := m.Tag("vermagic"); v != c.facts.Vermagic {
		r.object(CodeVermagic, "vermagic", "build it for this kernel", "it is %.120q, that of the kernel's modules is %q", v, c.facts.Vermagic)
	}
	if _, ok := m.Tag("retpoline"); !ok && c.facts.Retpoline {
		r.object(CodeModinfo, "retpoline", "compile it with the kernel's own flags", "it is not marked as compiled with retpolines: the kernel will warn and call itself vulnerable")
	}
	if v, ok := m.Tag(klp.TagKernelID); ok && v != c.k.BuildID {
		r.object(CodeKernelID, klp.TagKernelID, "build it for this kernel", "it was built for the kernel with build id %.60s, this one has %s", v, c.k.BuildID)
	}
	switch {
	case m.Name == "":
		r.object(CodeModinfo, "name", "", "it has no name")
	case uint64(len(m.Name)) >= c.facts.Module.NameLen || strings.ContainsAny(m.Name, ".-/ ,"):
		r.object(CodeName, m.Name, "choose another name", "the kernel cannot take this name")
	case c.facts.Taken[m.Name] || m.Name == vmlinux:
		r.object(CodeName, m.Name, "choose another name", "the kernel has a module of that name")
	}
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
			c.r.object(CodeDuplicate, s.name, "merge the sections", "two loaded sections have this name: the kernel warns when it lists them in sysfs")
		}
		seen[s.name] = true
		switch {
		case s.flags&uint64(elf.SHF_WRITE) != 0 && s.flags&uint64(elf.SHF_EXECINSTR) != 0:
			c.r.object(CodeSections, s.name, "", "it is writable and executable: the loader refuses it")
		case strings.HasPrefix(s.name, "__ksymtab") || strings.HasPrefix(s.name, "__kcrctab"):
			if s.size > 0 {
				c.r.warn(CodeSections, s.name, "", "the livepatch exports symbols: modules that use them keep it from going away")
			}
		case strings.HasPrefix(s.name, ".data..percpu") && s.size > 0:
			c.r.warn(CodeSections, s.name, "", "it defines per-CPU data of its own")
		}
	}
	for _, s := range c.m.raw {
		if s.name == ".BTF" {
			c.r.warn(CodeSections, s.name, "strip it", "its types must have been made against exactly this kernel's")
		}
	}
}

// symbols looks for what simplify_symbols (kernel/module/main.c) refuses.
func (c *checker) symbols() {
	for _, s := range c.m.file.Symbols {
		switch {
		case s.Section != nil || s.IsUndefined() || s.Shndx == object.Abs:
			if s.Section != nil && s.Value > s.Section.Size {
				c.r.object(CodeSymbol, s.Name, "", "it lies at %#x of section %s, which has %#x bytes", s.Value, s.Section.Name, s.Section.Size)
			}
		case s.Shndx == object.Common:
			c.r.object(CodeSymbol, s.Name, "compile with -fno-common", "it is a common symbol")
		case s.Shndx == object.Livepatch:
			if _, err := parseKlpSymbol(s.Name); err != nil {
				c.r.object(CodeKlpForm, s.Name, "", "%v", err)
			}
		default:
			c.r.object(CodeSymbol, s.Name, "", "its section number %#x means nothing to the loader", s.Shndx)
		}
		if strings.HasPrefix(s.Name, klpSymPrefix) && s.Shndx != object.Livepatch {
			c.r.object(CodeKlpForm, s.Name, "its section number must be 0xff20", "it has the name of a livepatch symbol but is none: the loader will not leave it alone")
		}
	}
}

func (c *checker) thisModule() {
	s := c.m.file.Section(secThis)
	advice := "build it for this kernel"
	if s.Size != c.facts.Module.Size || uint64(len(s.Data)) != s.Size {
		c.r.object(CodeThisModule, s.Name, advice, "struct module has %d bytes, the kernel's has %d: it does not check", s.Size, c.facts.Module.Size)
		return
	}
	name, _, _ := strings.Cut(string(s.Data[c.facts.Module.Name:c.facts.Module.Name+c.facts.Module.NameLen]), "\x00")
	if name != c.m.Name {
		c.r.object(CodeThisModule, s.Name, advice, "the module is called %.60q there and %.60q in modinfo", name, c.m.Name)
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
			c.r.object(CodeThisModule, fmt.Sprintf("%s+%#x", s.Name, r.Offset), advice, "a pointer at neither init (%#x) nor exit (%#x)", c.facts.Module.Init, c.facts.Module.Exit)
		}
	}
	if !init {
		c.r.object(CodeEnable, s.Name, "", "there is no init function: the patch is never enabled")
	}
	if !exit {
		c.r.warn(CodeNoExit, s.Name, "", "there is no exit function: the module can never be unloaded")
	}
	if !slices.ContainsFunc(c.m.Exports, func(e Export) bool { return e.Name == "klp_enable_patch" && e.Relocs > 0 }) {
		c.r.object(CodeEnable, "klp_enable_patch", "", "nothing calls it: the patch is never enabled")
	}
}

func (c *checker) exports() {
	known, err := c.k.Exports()
	if err != nil {
		c.r.object(CodeExport, "", "", "%v", err)
		return
	}
	spaces := c.m.tags("import_ns")
	if c.facts.Modversions && !slices.ContainsFunc(c.m.Exports, func(e Export) bool { return e.Name == "module_layout" && e.HasVersion }) {
		c.r.object(CodeCRC, "module_layout", "build it for this kernel", "__versions has no record of it: the loader refuses the module")
	}
	for _, x := range c.m.Exports {
		e, ok := known[x.Name]
		switch {
		case !ok && x.Weak:
			c.r.warn(CodeExport, x.Name, "", "nothing exports it; it is weak, so it is taken as 0")
			continue
		case !ok:
			c.r.object(CodeExport, x.Name, "an unexported symbol needs a .klp.sym reference", "neither the kernel nor its modules export it")
			continue
		case e.Namespace != "" && !slices.Contains(spaces, e.Namespace):
			c.r.object(CodeNamespace, x.Name, "import the namespace", "it is in namespace %s", e.Namespace)
			continue
		case c.facts.Modversions && (!x.HasVersion || x.CRC != e.CRC):
			c.r.object(CodeCRC, x.Name, "build it for this kernel", "its CRC is %#08x in the module (recorded: %t), %#08x in the kernel", x.CRC, x.HasVersion, e.CRC)
			continue
		case e.Object != vmlinux:
			c.r.warn(CodeExportOwner, x.Name, "a .klp.sym reference would not need that", "module %s must be loaded before the livepatch, and stays as long", e.Object)
			if d, _ := c.m.Tag("depends"); !slices.Contains(strings.Split(d, ","), e.Object) {
				c.r.warn(CodeExportOwner, x.Name, "", "modinfo depends does not name module %s, so modprobe will not load it", e.Object)
			}
		}
		c.r.Checked.Exports++
	}
}
