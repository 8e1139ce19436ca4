// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"slices"
	"strings"

	"kmend/internal/klp"
)

func (c *checker) modinfo() {
	r, m := c.r, c.m
	if v, ok := m.Tag("livepatch"); !ok || v == "" {
		r.find(CodeModinfo, "livepatch", "add MODULE_INFO(livepatch, \"Y\")", "it does not call itself a livepatch: klp_enable_patch will refuse it")
	}
	if v, _ := m.Tag("license"); !gplCompatible(v) {
		r.find(CodeModinfo, "license", "a livepatch needs GPL-only exports", "the license is %.80q", v)
	}
	if v, _ := m.Tag("vermagic"); v != c.facts.Vermagic {
		r.find(CodeVermagic, "vermagic", "build it for this kernel", "it is %.120q, that of the kernel's modules is %q", v, c.facts.Vermagic)
	}
	if _, ok := m.Tag("retpoline"); !ok && c.facts.Retpoline {
		r.find(CodeModinfo, "retpoline", "compile it with the kernel's own flags", "it is not marked as compiled with retpolines: the kernel will warn and call itself vulnerable")
	}
	switch v, ok := m.Tag(klp.TagKernelID); {
	case !ok:
		r.find(CodeNoKernelID, "", "load it on the kernel that it was held against only",
			"it does not say for which build of the kernel it was made; the kernel itself compares no more than vermagic and CRCs, and builds of one version can have both the same")
	case v != c.k.BuildID:
		r.find(CodeKernelID, klp.TagKernelID, "build it for this kernel", "it was built for the kernel with build id %.60s, this one has %s", v, c.k.BuildID)
	}
	switch {
	case m.Name == "":
		r.find(CodeModinfo, "name", "", "it has no name")
	case uint64(len(m.Name)) >= c.facts.Module.NameLen || strings.ContainsAny(m.Name, ".-/ ,"):
		r.find(CodeName, m.Name, "choose another name", "the kernel cannot take this name")
	case c.facts.Taken[m.Name] || m.Name == vmlinux:
		r.find(CodeName, m.Name, "choose another name", "the kernel has a module of that name")
	}
}

// gplCompatible is license_is_gpl_compatible of include/linux/license.h.
func gplCompatible(license string) bool {
	return slices.Contains([]string{"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}, license)
}

// Bits of /proc/sys/kernel/tainted (include/linux/panic.h).
const (
	taintProprietary = 0
	taintStaging     = 10
	taintOutOfTree   = 12
	taintUnsigned    = 13
	taintLivepatch   = 15
)

// origin says how the kernel will be tainted (kernel/module/main.c,
// check_modinfo; include/linux/panic.h).
func (c *checker) origin() {
	add := func(flag string, bit int, why string) { c.r.Taint = append(c.r.Taint, Taint{flag, bit, why}) }
	if v, _ := c.m.Tag("license"); !gplCompatible(v) {
		add("P", taintProprietary, "its license is not compatible with the GPL")
	}
	if _, ok := c.m.Tag("staging"); ok {
		add("C", taintStaging, "it calls itself a staging driver")
	}
	if _, ok := c.m.Tag("intree"); !ok {
		add("O", taintOutOfTree, "it is not of the kernel's own tree")
	}
	if !signed(c.data) && c.k.Config("CONFIG_MODULE_SIG") == "y" {
		add("E", taintUnsigned, "it is not signed")
	}
	if v, ok := c.m.Tag("livepatch"); ok && v != "" {
		add("K", taintLivepatch, "it is a livepatch")
	}
}

// dependencies reads what modprobe will load before.
func (c *checker) dependencies() {
	for _, ns := range c.m.tags("import_ns") {
		c.importNS[ns] = true
	}
	for _, list := range c.m.tags("depends") {
		for name := range strings.SplitSeq(list, ",") {
			if name == "" || c.depends[name] {
				continue
			}
			c.depends[name] = true
			if !c.names[strings.ReplaceAll(name, "-", "_")] {
				c.r.find(CodeDepends, name, "insmod loads it all the same, if nothing is missing from it", "modprobe will not load it: modinfo depends names this module, which the kernel does not have")
			}
		}
	}
}
