// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"kmend/internal/extract"
	"kmend/internal/kernel"
	"kmend/internal/plan"
)

// OutFile is one file of the output.
type OutFile struct {
	Name string
	Data []byte
}

// fileNames names the extracted file of each unit: the patch's own name if
// there is just one.
func fileNames(name string, units []*Unit) []string {
	out := make([]string, len(units))
	for i, u := range units {
		out[i] = name + ".c"
		if len(units) > 1 {
			out[i] = name + "_" + strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
					return r
				}
				return '_'
			}, strings.TrimSuffix(u.Source, ".c")) + ".c"
		}
	}
	return out
}

// Write makes the files of the output: C, Kbuild and README. plan.json is the
// caller's.
func (r *Result) Write(k *kernel.Kernel) []OutFile {
	p := r.Build.Plan
	var out []OutFile
	tables := registration(p, len(r.Units) > 1)
	for _, u := range r.Units {
		var b bytes.Buffer
		b.WriteString(head(p, u))
		b.Write(u.File.Text)
		if len(r.Units) == 1 {
			b.WriteString("\n" + tables)
		}
		out = append(out, OutFile{u.Object.File, b.Bytes()})
	}
	if len(r.Units) > 1 {
		text := fmt.Sprintf("// SPDX-License-Identifier: GPL-2.0\n/*\n * %s: registers what the other files define.\n */\n\n%s", p.Name, tables)
		out = append(out, OutFile{p.Name + ".c", []byte(text)})
	}
	return append(out, OutFile{"Kbuild", r.kbuild(k)}, OutFile{"README", r.readme(k)})
}

// head is the comment at the head of an extracted file: what it is, what is
// replaced and why, and a table of what became of the names that it uses.
func head(p *plan.Plan, u *Unit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// SPDX-License-Identifier: GPL-2.0\n/*\n * %s: %s\n", p.Name, commentSafe(subject(p)))
	fmt.Fprintf(&b, " *\n * Extracted by kmend from %s of Linux %s (%s).\n", u.Source, p.Kernel.Release, commentSafe(p.Kernel.Version))
	b.WriteString(" * Each piece says where it is from. Replaced functions are called klpp_NAME.\n")
	b.WriteString(" *\n")
	rows := [][4]string{{"name", "decision", "symbol", "why"}}
	others := 0
	for _, d := range u.Object.Decisions {
		if d.Decision == extract.Include {
			others++
			continue
		}
		symbol := d.Symbol
		if d.How != "" {
			symbol += " (" + d.How + ")"
		}
		rows = append(rows, [4]string{d.Name, d.Decision, symbol, d.Why})
	}
	var width [3]int
	for _, r := range rows {
		for i := range width {
			width[i] = max(width[i], len(r[i]))
		}
	}
	for _, r := range rows {
		line := fmt.Sprintf(" * %-*s  %-*s  %-*s  %s", width[0], r[0], width[1], r[1], width[2], r[2], commentSafe(r[3]))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if others > 0 {
		fmt.Fprintf(&b, " * and %d that headers declare, listed in plan.json\n", others)
	}
	b.WriteString(" */\n\n")
	return b.String()
}

func commentSafe(s string) string {
	return strings.NewReplacer("*/", "* /", "\n", " ").Replace(s)
}

func subject(p *plan.Plan) string {
	for _, s := range p.Patches {
		if s.Subject != "" {
			return s.Subject
		}
	}
	return "live patch"
}

// registrationMark begins the part of a file that is no extracted code.
const registrationMark = "/* Registration: kmend makes the module's tables from plan.json, which say the same. */\n"

// registration is the C that makes livepatch replace the functions
// (include/linux/livepatch.h). It does without module_init and THIS_MODULE,
// which mean something else where the file is compiled as built-in code. In a
// file of its own it declares what the other files define.
func registration(p *plan.Plan, apart bool) string {
	var b strings.Builder
	b.WriteString(registrationMark)
	b.WriteString("#include <linux/livepatch.h>\n\n")
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			if apart {
				fmt.Fprintf(&b, "extern char %s%s[];\n", extract.Prefix, f.Name)
			}
		}
	}
	for i, o := range p.Objects {
		if i > 0 || apart {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "static struct klp_func klp_funcs_%s[] = {\n", o.Name)
		for _, f := range o.Functions {
			fmt.Fprintf(&b, "\t{ .old_name = \"%s\", .new_func = %s%s", f.Name, extract.Prefix, f.Name)
			if f.Sympos > 0 {
				fmt.Fprintf(&b, ", .old_sympos = %d", f.Sympos)
			}
			b.WriteString(" },\n")
		}
		b.WriteString("\t{ }\n};\n")
	}
	b.WriteString("\nstatic struct klp_object klp_objects[] = {\n")
	for _, o := range p.Objects {
		name := ""
		if o.Name != plan.Vmlinux {
			name = fmt.Sprintf(".name = \"%s\", ", o.Name)
		}
		fmt.Fprintf(&b, "\t{ %s.funcs = klp_funcs_%s },\n", name, o.Name)
	}
	b.WriteString(`	{ }
};

extern struct module __this_module;

static struct klp_patch klp_patch = {
	.mod = &__this_module,
	.objs = klp_objects,
};

int init_module(void)
{
	return klp_enable_patch(&klp_patch);
}

void cleanup_module(void)
{
}

#define klp_modinfo static const char __attribute__((__section__(".modinfo"), __used__, __aligned__(1)))
klp_modinfo klp_info_license[] = "license=GPL";
klp_modinfo klp_info_livepatch[] = "livepatch=Y";
`)
	return b.String()
}

// kbuild compiles each file with the flags that the kernel's build has for the
// origin, so that MODULE, KBUILD_MODNAME and everything else mean the same.
func (r *Result) kbuild(k *kernel.Kernel) []byte {
	var b strings.Builder
	name := r.Build.Plan.Name
	b.WriteString("# SPDX-License-Identifier: GPL-2.0\n")
	b.WriteString("# make -C BUILD M=$PWD compiles the C files; see README for the module.\n\n")
	if len(r.Units) == 1 {
		fmt.Fprintf(&b, "obj-m := %s.o\n", name)
	} else {
		fmt.Fprintf(&b, "obj-m := %s-all.o\n%s-all-y := %s.o", name, name, name)
		for _, u := range r.Units {
			fmt.Fprintf(&b, " %s.o", strings.TrimSuffix(u.Object.File, ".c"))
		}
		b.WriteString("\n")
	}
	for _, u := range r.Units {
		fmt.Fprintf(&b, "\n# The flags of %s in the kernel's own build, and its view of MODULE.\n", u.Source)
		fmt.Fprintf(&b, "$(obj)/%s.o: c_flags = -Wp,-MMD,$(depfile) -Werror", strings.TrimSuffix(u.Object.File, ".c"))
		for _, f := range u.flags(k) {
			b.WriteString(" \\\n\t" + f)
		}
		b.WriteString("\n")
	}
	return []byte(b.String())
}

// flags are the options of the unit's own compile, for make and shell.
func (u *Unit) flags(k *kernel.Kernel) []string {
	var out []string
	in := u.command.Gcc[1 : len(u.command.Gcc)-1]
	for i := 0; i < len(in); i++ {
		f := in[i]
		switch {
		case f == "-o":
			i++
			continue
		case f == "-c", strings.HasPrefix(f, "-Wp,-MMD,"), strings.HasPrefix(f, "-Wp,-MD,"), strings.HasPrefix(f, "-fmacro-prefix-map="):
			continue
		}
		f = strings.ReplaceAll(f, k.SourceDir+"/", "\x00/")
		if (f == "-I" || f == "-include" || f == "-isystem") && i+1 < len(in) {
			i++
			f += " " + strings.ReplaceAll(in[i], k.SourceDir+"/", "\x00/")
		}
		f = strings.ReplaceAll(strings.ReplaceAll(f, "$", "$$"), "#", `\#`)
		if strings.ContainsAny(f, `"'();<>|&*?`) {
			f = "'" + strings.ReplaceAll(f, "'", `'\''`) + "'"
		}
		out = append(out, strings.ReplaceAll(f, "\x00", "$(srctree)"))
	}
	dir := path.Dir(u.Source)
	return append(out, "-I $(srctree)/"+dir, "-I $(objtree)/"+dir)
}

// readme says what the directory is.
func (r *Result) readme(k *kernel.Kernel) []byte {
	p := r.Build.Plan
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n\n%s\n\n", p.Name, strings.Repeat("=", len(p.Name)), subject(p))
	fmt.Fprintf(&b, "A live patch for Linux %s (%s), build id %s.\n\n", p.Kernel.Release, p.Kernel.Version, p.Kernel.BuildID)
	b.WriteString("What is replaced\n----------------\n\n")
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			why := f.Reason.Text
			if why == "" {
				why = f.Reason.Kind
			}
			fmt.Fprintf(&b, "%s: %s (%s): %s\n", o.Name, f.Name, f.Unit, why)
		}
	}
	r.readmeProofs(&b)
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "\nWarning (%s): %s\n", w.Code, w.Text)
	}
	b.WriteString("\nFiles\n-----\n\n")
	for _, u := range r.Units {
		fmt.Fprintf(&b, "%s: from %s\n", u.Object.File, u.Source)
	}
	if len(r.Units) > 1 {
		fmt.Fprintf(&b, "%s.c: registers them\n", p.Name)
	}
	b.WriteString("Kbuild: how they are compiled\nplan.json: the decisions, proofs and references, for machines and for kmend\n")
	fmt.Fprintf(&b, `
How to build
------------

Compile only, with the kernel's own makefiles:

	make -C /lib/modules/%s/build M=$PWD %s.o

The module needs relocations to symbols that the kernel does not export, which
kbuild cannot write. kmend compiles the same text, binds it and writes them:

	%s
`, p.Kernel.Release, p.Name, r.command())
	return []byte(b.String())
}

// command makes the module.
func (r *Result) command() string {
	p := r.Build.Plan
	if len(p.Patches) == 0 {
		return fmt.Sprintf("kmend build -k %s --from source -o OUT THIS-DIRECTORY      (after editing it)", p.Kernel.Name)
	}
	return fmt.Sprintf("kmend build -k %s --from source -o OUT FIX.patch", p.Kernel.Name)
}

func (r *Result) readmeProofs(b *strings.Builder) {
	b.WriteString("\nProof of the extraction\n-----------------------\n\n")
	for _, u := range r.Units {
		for _, set := range []struct {
			name   string
			proofs []plan.Proof
		}{{"without the fix", u.Object.Unpatched}, {"as it is in these files", u.Patched(r.Build.Plan)}} {
			for _, pr := range set.proofs {
				text := pr.Verdict
				var rules []string
				for _, rc := range pr.Rules {
					rules = append(rules, rc.Rule)
				}
				if len(rules) > 0 {
					text += " (" + strings.Join(rules, ", ") + ")"
				}
				fmt.Fprintf(b, "%s, %s: %s\n", pr.Function, set.name, text)
			}
		}
	}
}

// Patched are the proofs of a unit in the plan that was made of it.
func (u *Unit) Patched(p *plan.Plan) []plan.Proof {
	for _, pu := range p.Units {
		if pu.Extraction != nil && pu.Source == u.Source {
			return pu.Extraction.Patched
		}
	}
	return nil
}
