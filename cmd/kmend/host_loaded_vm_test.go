// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/klp/klptest"
	"kmend/internal/verify"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// cumulative is a livepatch that takes the place of all others and replaces
// version_proc_show.
func cumulative(t *testing.T, k *kernel.Kernel) string {
	t.Helper()
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	spec := klptest.Spec(t, k, "livepatch_all", klptest.Patch{Object: "vmlinux", Funcs: []string{"version_proc_show"},
		Source: klptest.Source{Path: "fs/proc/version.c", Text: klptest.Text(t, k, "fs/proc/version.c", "seq_printf(m, ", `seq_puts(m, "all "); seq_printf(m, `)}})
	spec.Replace = true
	data, _, err := klp.Write(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "livepatch-all.ko", data)
}

// atDesk holds modules against the kernel and what kmend status says in the
// guest, outside of the guest.
func (h *hosted) atDesk(code int, modules []string, words ...string) {
	h.t.Helper()
	status := writeFile(h.t, "status.json", []byte(h.run(exitDone, "kmend status --json")))
	got, out, errs := kmend(h.t, append([]string{"verify", "-k", h.k.Name, "--loaded-from", status}, modules...)...)
	if got != code {
		h.t.Errorf("exit code %d, want %d", got, code)
	}
	h.want("verify", out+errs, words...)
}

// beside: a live patch in the place of all others, on a kernel of which no more is
// known than what it shows. The other two that are loaded are one of kmend's and
// one of another tool.
func (h *hosted) beside(all string) {
	h.t.Helper()
	h.atDesk(exitDone, []string{all}, `^loaded already, by /.*status\.json:`, `^  lp_replaces: enabled, 1 function$`, `^  livepatch_one: enabled, 1 function, from /root/kmend/livepatch-one.ko$`, `^loaded after that:`,
		`^warning: lp_replaces, livepatch_all: loading livepatch_all disables lp_replaces \(loaded; kmend has no record of it\), and these functions then run without a fix: vmlinux:cmdline_proc_show; .*\[fix-dropped\]`,
		`^note: livepatch_all: loading it disables what is loaded: lp_replaces .*, livepatch_one .*\[disables-loaded\]`, `^note: livepatch_one: which system states .*the files of that machine are not here; .*\[states-unknown\]`, `^livepatch_all: no objection`)
	h.run(exitDone, "kmend load /root/kmend/livepatch-all.ko", `^note|^disables-loaded: livepatch_all: `, `^livepatch_all: loaded`,
		`^warning: fix-dropped: livepatch_one, livepatch_all: loading livepatch_all disables livepatch_one \(loaded from /root/kmend/livepatch-one.ko\), and these functions then run without a fix: vmlinux:cmdline_proc_show`,
		`^warning: fix-dropped: lp_replaces, livepatch_all: `)
	h.want("version", h.shell("cat /proc/version"), `^all Linux version`)
	h.shell("sleep 1")
	h.atDesk(exitDone, []string{all}, `^  livepatch_one: disabled`, `^note: livepatch_all: it is loaded already`)
}

// guestStore is what of an added kernel it takes to verify modules, as files of a
// guest that finds them with XDG_CACHE_HOME=/store.
func guestStore(t *testing.T, k *kernel.Kernel) []vm.File {
	t.Helper()
	const to = "/store/kmend/kernels"
	from := filepath.Dir(k.Dir)
	record, err := os.ReadFile(filepath.Join(k.Dir, "kernel.json"))
	if err != nil {
		t.Fatal(err)
	}
	place := func(path string) string {
		t.Helper()
		rest, ok := strings.CutPrefix(path, from+"/")
		if !ok {
			kerneltest.Missing(t, "%s is not below %s", path, from)
		}
		return to + "/" + rest
	}
	files := []vm.File{{Host: writeFile(t, "kernel.json", []byte(strings.ReplaceAll(string(record), from+"/", to+"/"))), Guest: place(filepath.Join(k.Dir, "kernel.json"))},
		{Host: writeFile(t, "none", nil), Guest: place(filepath.Join(k.SourceDir, "none"))}}
	needed := []string{k.Vmlinux, k.ConfigFile(), k.Symvers}
	for _, name := range []string{"modules.dep", "modules.builtin", "modules.builtin.modinfo"} {
		needed = append(needed, filepath.Join(k.ModulesDir, name))
	}
	for _, m := range k.Modules()[:4] { // to see that they have the kernel's struct module
		needed = append(needed, m.Path)
	}
	for _, path := range needed {
		files = append(files, vm.File{Host: path, Guest: place(path)})
	}
	return files
}

// TestHostVerifyLoaded is kmend verify on the machine itself, where the kernel that
// runs was added.
func TestHostVerifyLoaded(t *testing.T) {
	k := kerneltest.Open(t)
	one, _ := buildFix(t, k, "one", newline)
	two, _ := buildFix(t, k, "two", sub("fs/proc/cmdline.c", "\tseq_putc(m, '\\n');", "\tseq_puts(m, \" second\\n\");"))
	hand := filepath.Join(vmtest.BuildModules(t, k, "../../internal/verify/testdata/modules"), "lp_all.ko")
	h := bootHost(t, k, func(m *vm.Machine) { m.MemoryMB, m.Files = 1024, slices.Concat(m.Files, guestStore(t, k)) }, one, two, hand, cumulative(t, k))
	const cmd = "cd /root/kmend; XDG_CACHE_HOME=/store kmend "

	h.run(exitDone, cmd+"verify livepatch-one.ko", `^no live patch is loaded, on this machine`, `^livepatch_one: no objection`)
	h.run(exitDone, cmd+"load livepatch-one.ko", `^livepatch_one: loaded, transition [0-9.]+ m?s$`) // held against the kernel
	h.run(exitDone, cmd+"verify --loaded livepatch-two.ko", `^loaded already, on this machine:\n  livepatch_one: enabled, 1 function, from /root/kmend/livepatch-one.ko$`,
		`^loaded after that:\nwarning: livepatch_one, livepatch_two: both replace vmlinux:cmdline_proc_show.*\[overlap\]`)
	if out := h.run(exitDone, cmd+"verify --loaded=false livepatch-two.ko"); strings.Contains(out, "livepatch_one") {
		t.Errorf("--loaded=false speaks of what is loaded")
	}
	h.run(exitDone, "cp -r /root/kmend /tmp/m; chmod -R a+rX /tmp/m /store; chmod 700 /root; su -s /bin/sh nobody -c 'XDG_CACHE_HOME=/store kmend verify /tmp/m/livepatch-all.ko'",
		`\[fix-dropped\]`, `^note: livepatch_one: which system states .*/root/kmend/livepatch-one.ko: .*permission denied`)
	h.run(exitDone, cmd+"load lp_all.ko", `^warning: callbacks: `, `^lp_all: loaded`, `disables-loaded: lp_all: loading it disables what is loaded: livepatch_one`)
	var answer verifyAnswer
	out := h.run(exitRefused, cmd+"verify --json -q livepatch-all.ko")
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	if l := answer.Loaded; l == nil || l.From != "" || l.KernelID != k.BuildID || !slices.ContainsFunc(answer.Together, func(f verify.Finding) bool { return f.Code == verify.CodeStates }) {
		t.Errorf("loaded %+v, together %+v", l, answer.Together)
	}
	// And the kernel would have refused it, too.
	h.run(exitRefused, cmd+"load livepatch-all.ko", `refused \(verifier-objects\)`, `states-incompatible: livepatch_all: it replaces lp_all and does not have its system state 7`)
	h.run(exitDone, "insmod /root/kmend/livepatch-all.ko; true", `[Ii]nvalid argument`)
	h.run(exitDone, cmd+"unload lp_all")
	if err := h.g.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}
