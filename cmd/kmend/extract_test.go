// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// extractCmdline extracts a function as it is and returns the directory and its
// C file.
func extractCmdline(t *testing.T, k *kernel.Kernel) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	if code, _, _ := kmend(t, "extract", "-k", k.Name, "-o", dir, "fs/proc/cmdline.c:cmdline_proc_show"); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	return dir, filepath.Join(dir, "livepatch_cmdline_proc_show.c")
}

func change(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), from) != 1 {
		t.Fatalf("%q is there %d times in:\n%s", from, strings.Count(string(text), from), text)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestExtractAsItIs: the directory has what the issue of extraction promises,
// and the plan says what was decided and proved.
func TestExtractAsItIs(t *testing.T) {
	k := kerneltest.Open(t)
	dir, file := extractCmdline(t, k)
	for _, name := range []string{"Kbuild", "README", "plan.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/* from fs/proc/cmdline.c:", "int klpp_cmdline_proc_show(struct seq_file *m, void *v)\n{\n", "seq_puts(m, saved_command_line);", `{ .old_name = "cmdline_proc_show", .new_func = klpp_cmdline_proc_show },`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "proc_cmdline_init") {
		t.Errorf("more than the function was extracted:\n%s", text)
	}
	p := readPlan(t, dir)
	if p.Way != plan.WaySource || len(p.Units) != 1 || p.Units[0].Extraction == nil || p.Module != nil {
		t.Fatalf("plan: way %s, units %+v, module %v", p.Way, p.Units, p.Module)
	}
	for _, proofs := range [][]plan.Proof{p.Units[0].Extraction.Unpatched, p.Units[0].Extraction.Patched} {
		if len(proofs) != 1 || proofs[0].Verdict != plan.ProofIdentical {
			t.Errorf("proofs: %+v", proofs)
		}
	}
}

// TestEditsAreAFix: what is edited in an extracted file becomes a patch of the
// kernel's source, and what cannot be put back is refused.
func TestEditsAreAFix(t *testing.T) {
	k := kerneltest.Open(t)
	dir, file := extractCmdline(t, k)
	out := t.TempDir()
	if code, _, _ := kmend(t, "build", "-k", k.Name, "-o", out, dir); code != exitNothing {
		t.Errorf("nothing edited: exit code %d", code)
	}
	change(t, file, "\tseq_putc(m, '\\n');\n", "\tkmend_mark(m);\n\tseq_putc(m, '\\n');\n")
	change(t, file, "int klpp_cmdline_proc_show(", "static void kmend_mark(struct seq_file *m)\n{\n\tseq_puts(m, \" kmend\");\n}\n\nint klpp_cmdline_proc_show(")
	if code, _, _ := kmend(t, "build", "--both", "-k", k.Name, "-o", out, dir); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	p := readPlan(t, out)
	if len(p.Objects) != 1 || len(p.Objects[0].Functions) != 1 || p.Objects[0].Functions[0].Name != "cmdline_proc_show" || p.Objects[0].Functions[0].Reason.Kind != plan.Edited {
		t.Errorf("objects: %+v", p.Objects)
	}
	// The code is the same, and so is what it is bound to: one module.
	if source := readPlan(t, filepath.Join(out, "source")); source.Module == nil || source.Module.SHA256 != p.Module.SHA256 {
		t.Errorf("the source way's module: %+v, the binary way's: %+v", source.Module, p.Module)
	}
	for name, edit := range map[string][2]string{
		"registration": {".old_name = \"cmdline_proc_show\"", ".old_name = \"other\""},
		"head":         {"Each piece says where it is from.", "No piece says where it is from."},
	} {
		dir, file := extractCmdline(t, k)
		change(t, file, edit[0], edit[1])
		empty := filepath.Join(t.TempDir(), "out")
		if code, _, _ := kmend(t, "build", "-k", k.Name, "-o", empty, dir); code != exitRefused {
			t.Errorf("edited %s: exit code %d", name, code)
		}
		if _, err := os.Stat(empty); err == nil {
			t.Errorf("edited %s: there is output", name)
		}
	}
}

// TestExtractRefuses: precise errors, the right exit code, and nothing written.
func TestExtractRefuses(t *testing.T) {
	k := kerneltest.Open(t)
	policy := func(text string) string {
		file := filepath.Join(t.TempDir(), "policy")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"fs/proc/cmdline.c:cmdline_proc_shw"}, exitUsage, "near names: cmdline_proc_show"},
		{[]string{"type_show"}, exitUsage, "units of this kernel define it"},
		{[]string{"fs/proc/cmdline.c:proc_cmdline_init"}, exitRefused, "init-code"},
		{[]string{"fs/ext2/super.c:ext2_error"}, exitRefused, "not-built"},
		{[]string{"kernel/sys.c:SYSCALL_DEFINE2"}, exitUsage, "it is a macro"},
		{[]string{"include/linux/fs.h:inode_lock"}, exitUsage, "FILE.c:FUNCTION"},
		{[]string{"fs/proc/cmdline.c:cmdline_proc_show", "no.patch"}, exitUsage, "either patches or functions"},
		{[]string{"--policy", policy("drop x\n"), "fs/proc/cmdline.c:cmdline_proc_show"}, exitUsage, "policy:1"},
		{[]string{"--policy", policy("refuse saved_command_line\n"), "fs/proc/cmdline.c:cmdline_proc_show"}, exitRefused, "policy"},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		code, out, errs := kmend(t, append([]string{"extract", "-k", k.Name, "-o", dir}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%q: exit code %d, want %d and %q", c.args, code, c.code, c.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: there is output", c.args)
		}
	}
}
