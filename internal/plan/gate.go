// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"kmend/internal/kernel"
	"kmend/internal/patch"
)

// configGate refuses kernels that the analysis does not cover or that cannot
// be live patched at all.
func configGate(k *kernel.Kernel) []Refusal {
	var out []Refusal
	refuse := func(option, why, advice string) {
		out = append(out, Refusal{Code: CodeKernelConfig, Symbol: option, Why: why, Advice: advice})
	}
	for _, option := range []string{"CONFIG_LIVEPATCH", "CONFIG_KALLSYMS_ALL", "CONFIG_UNWINDER_ORC"} {
		if k.Config(option) != "y" {
			refuse(option, "the kernel is built without it", "live patching needs a kernel that has it")
		}
	}
	for option, why := range map[string]string{
		"CONFIG_X86_KERNEL_IBT":            "kmend does not write the indirect branch tracking sections yet",
		"CONFIG_CFI_CLANG":                 "kmend does not write control flow integrity data yet",
		"CONFIG_LTO_CLANG":                 "with link-time optimisation one object does not stand for one source file",
		"CONFIG_RANDSTRUCT_FULL":           "structures are laid out at random",
		"CONFIG_RANDSTRUCT_PERFORMANCE":    "structures are laid out at random",
		"CONFIG_GCC_PLUGIN_LATENT_ENTROPY": "the compiler puts random numbers into the code",
		"CONFIG_CALL_DEPTH_TRACKING":       "kmend does not write call thunk sections yet",
	} {
		if k.Config(option) == "y" {
			refuse(option, why, "use a kernel without it")
		}
	}
	return out
}

// kindRefusals says which kinds of files cannot be live patched, and why.
var kindRefusals = map[patch.Kind]struct{ code, why, advice string }{
	patch.Assembly:     {CodeAssembly, "assembler code is not compiled twice and compared", "fix it in C, or reboot into a fixed kernel"},
	patch.VDSO:         {CodeVDSO, "it runs in user space, where live patching does not reach", "reboot into a fixed kernel"},
	patch.BootCode:     {CodeBootCode, "it runs before or outside the kernel", "reboot into a fixed kernel"},
	patch.BuildFile:    {CodeBuildFile, "it decides how the kernel is built, not what one function does", "leave it out of the fix"},
	patch.LinkerScript: {CodeUnsupportedFile, "it decides how the kernel is linked", "reboot into a fixed kernel"},
	patch.Rust:         {CodeUnsupportedFile, "kmend patches C only", "reboot into a fixed kernel"},
	patch.DeviceTree:   {CodeUnsupportedFile, "it is data for another program", "leave it out of the fix"},
	patch.Other:        {CodeUnsupportedFile, "kmend does not know what it does to the kernel", "leave it out of the fix"},
}

// patchingPaths are files with code the kernel runs while it applies a live
// patch (kernel/livepatch, ftrace, text patching, unwinding, module loading):
// it cannot be replaced by itself.
var patchingPaths = []string{
	"kernel/livepatch/", "kernel/module/", "kernel/trace/ftrace.c", "kernel/trace/ring_buffer.c",
	"kernel/stop_machine.c", "kernel/stacktrace.c", "kernel/kallsyms.c", "kernel/jump_label.c", "kernel/static_call", "kernel/extable.c",
	"arch/x86/kernel/alternative.c", "arch/x86/kernel/ftrace", "arch/x86/kernel/jump_label.c", "arch/x86/kernel/static_call.c",
	"arch/x86/kernel/module.c", "arch/x86/kernel/unwind", "arch/x86/kernel/stacktrace.c", "arch/x86/kernel/paravirt",
	"lib/bsearch.c", "lib/sort.c", "lib/string.c", "lib/vsprintf.c", "lib/kobject.c",
}

// fileGate splits the files of a fix into translation units and refusals.
func fileGate(p *Plan, files []*patch.AppliedFile) (units []*patch.AppliedFile) {
	for _, f := range files {
		entry := File{Path: f.Path, Kind: string(f.Kind), Hunks: []Hunk{}}
		for _, h := range f.Hunks {
			entry.Hunks = append(entry.Hunks, Hunk{Patch: h.Patch, Line: h.Line, Offset: h.Offset, Fuzz: h.Fuzz})
			if h.Fuzz > 0 {
				p.warn("fuzz", fmt.Sprintf("%s: hunk %d of %s applied with fuzz %d at line %d: check that it is the right place", f.Path, h.Index, h.Patch, h.Fuzz, h.Line))
			}
		}
		refusal, ignored := fileRefusal(f)
		switch {
		case refusal != nil:
			p.refuse(*refusal)
		case ignored != "":
			p.warn("ignored-file", f.Path+": "+ignored)
		case !f.Unchanged():
			entry.Used = true
			units = append(units, f)
		}
		p.Files = append(p.Files, entry)
	}
	return units
}

func fileRefusal(f *patch.AppliedFile) (refusal *Refusal, ignored string) {
	refuse := func(code, why, advice string) (*Refusal, string) {
		return &Refusal{Code: code, File: f.Path, Why: why, Advice: advice}, ""
	}
	switch f.Kind {
	case patch.Doc:
		return nil, "documentation; nothing to patch"
	case patch.Tooling, patch.Sample:
		return nil, "not part of the kernel; nothing to patch"
	}
	switch {
	case f.Added || f.Copied:
		return refuse(CodeFileAdded, "the fix adds this file; the running kernel has no code of it to replace", "put the new code into the file that uses it")
	case f.Deleted || f.Renamed:
		return refuse(CodeFileRemoved, "the fix removes or renames this file", "leave the file in place and change its functions")
	case f.Binary:
		return refuse(CodeUnsupportedFile, "the fix changes it as binary data", "leave it out of the fix")
	}
	if k, bad := kindRefusals[f.Kind]; bad {
		if f.Unchanged() {
			return nil, "not changed"
		}
		return refuse(k.code, k.why, k.advice)
	}
	if onPatchingPath(f.Path) {
		return refuse(CodePatchingPath, "the kernel runs this code while it applies a live patch", "reboot into a fixed kernel")
	}
	return nil, ""
}

func onPatchingPath(source string) bool {
	return slices.ContainsFunc(patchingPaths, func(p string) bool { return strings.HasPrefix(source, p) })
}
