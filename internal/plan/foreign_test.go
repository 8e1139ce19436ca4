// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// variant is the kernel with something else in its place.
func variant(t *testing.T, k *kernel.Kernel, change func(*kernel.Kernel)) *kernel.Kernel {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	out := &kernel.Kernel{}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	change(out)
	return out
}

var visible = []edit{sub(cmdline, "seq_putc(m, '\\n');", "seq_puts(m, \" \\n\");")}

// A kernel whose code is not what the source says must not be patched: one
// instruction of the function differs in the image.
func TestForeignSource(t *testing.T) {
	k := kerneltest.Open(t)
	foreign := filepath.Join(t.TempDir(), "vmlinux")
	data, err := os.ReadFile(k.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	const newline = "\xbe\x0a\x00\x00\x00" // mov $'\n',%esi
	off, code := place(t, k, "cmdline_proc_show")
	at := strings.Index(string(code), newline)
	if at < 0 {
		t.Fatalf("cmdline_proc_show has no mov $10,%%esi: % x", code)
	}
	data[off+int64(at)+1] = ' '
	if err := os.WriteFile(foreign, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b := makePlan(t, variant(t, k, func(k *kernel.Kernel) { k.Vmlinux = foreign }), kerneltest.Diff(t, k, visible...))
	checkRefused(t, b, &refusalCase{
		code: plan.CodeRunPreMismatch, at: cmdline, sym: "cmdline_proc_show",
		words: []string{"unpatched source is not what runs", "mismatch at +0x", "0a 00 00 00", "20 00 00 00", "configuration and compiler"},
	})
	if b := makePlan(t, k, kerneltest.Diff(t, k, visible...)); b.Plan.Verdict != plan.Patch {
		t.Errorf("the kernel itself: verdict %s %v", b.Plan.Verdict, b.Plan.Refusals)
	}
}

// place is where a function lies in the file of the image, and its code.
func place(t *testing.T, k *kernel.Kernel, name string) (off int64, code []byte) {
	t.Helper()
	table := kerneltest.Image(t, k).Symbols()
	syms := table.Lookup(name)
	if len(syms) != 1 {
		t.Fatalf("%d symbols %s", len(syms), name)
	}
	f, err := os.Open(k.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range image.Progs {
		if p.Type == elf.PT_LOAD && syms[0].Addr >= p.Vaddr && syms[0].Addr < p.Vaddr+p.Filesz {
			off = int64(p.Off + syms[0].Addr - p.Vaddr)
			code = make([]byte, table.Size(syms[0]))
			if _, err := io.ReadFull(io.NewSectionReader(f, off, int64(len(code))), code); err != nil {
				t.Fatal(err)
			}
			return off, code
		}
	}
	t.Fatalf("%s is in no segment", name)
	return 0, nil
}

// Kernels that cannot be live patched, or whose code kmend does not know how
// to make, are told before anything is compiled.
func TestRefusedKernels(t *testing.T) {
	k := kerneltest.Open(t)
	config, err := os.ReadFile(k.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	for option, words := range map[string][]string{
		"CONFIG_LIVEPATCH=n":                 {"built without it", "needs a kernel that has it"},
		"CONFIG_KALLSYMS_ALL=n":              {"built without it"},
		"CONFIG_UNWINDER_ORC=n":              {"built without it"},
		"CONFIG_X86_KERNEL_IBT=y":            {"indirect branch tracking", "use a kernel without it"},
		"CONFIG_CFI_CLANG=y":                 {"control flow integrity"},
		"CONFIG_LTO_CLANG=y":                 {"link-time"},
		"CONFIG_RANDSTRUCT_FULL=y":           {"at random"},
		"CONFIG_RANDSTRUCT_PERFORMANCE=y":    {"at random"},
		"CONFIG_GCC_PLUGIN_LATENT_ENTROPY=y": {"random numbers"},
		"CONFIG_CALL_DEPTH_TRACKING=y":       {"call thunk"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".config"), []byte(string(config)+option+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b := makePlan(t, variant(t, k, func(k *kernel.Kernel) { k.ObjDir = dir }), kerneltest.Diff(t, k, visible...))
		name, _, _ := strings.Cut(option, "=")
		checkRefused(t, b, &refusalCase{code: plan.CodeKernelConfig, sym: name, words: words})
	}
}
