// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestScanIncludes(t *testing.T) {
	text := "#include \"a.h\"\n # \tinclude<x/b.h> // c\n#include_next <c.h>\n\tprintf(\"#include <d.h>\\n\");\n\tp(\"#include \\\"e.h\\\"\\n\");\n" +
		"#include \\\n  \"f.h\"\n#include /* why */ \"g.h\"\n/* #include \"h.h\" */\nasm(\".include \\\"i.h\\\"\");\n#include MACRO\n#include M(x) /* c */\nint include;\n"
	got, macros := scanIncludes([]byte(text), ".c")
	want := []include{{incQuoted, "a.h"}, {incAngled, "x/b.h"}, {incAngled, "c.h"}, {incAngled, "d.h"}, {incQuoted, "e.h"}, {incQuoted, "f.h"}, {incQuoted, "g.h"}, {incQuoted, "h.h"}, {incQuoted, "i.h"}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !slices.Equal(macros, []string{"MACRO", "M(x)"}) {
		t.Errorf("macros %q", macros)
	}
}

func TestScanMakefile(t *testing.T) {
	text := "# see not.h\nhostprogs += gen tools/build\ngen-objs := gen.o more.o\nobj-y += x.o\ngeneric-y += early.h\nclean-files := old.h\n" +
		"CFLAGS_y.o := -include $(obj)/tmp.h\n$(obj)/table.c: include/scsi/list.h \\\n\t$(srctree)/kernel/k.h $(src)/../up.h $(VAR)/deep/v.h FORCE\n$(obj)/off.h: $(obj)/off.s\n" +
		"x: $(srctree)/include/xen/interface/xen*.h\n"
	got := scanMakefile(text, "lib/d")
	for _, want := range []include{{incExact, "lib/d/gen.c"}, {incExact, "lib/d/more.c"}, {incExact, "lib/d/tools/build.c"}, {incExact, "lib/d/tmp.h"}, {incExact, "include/scsi/list.h"},
		{incExact, "kernel/k.h"}, {incExact, "lib/up.h"}, {incTail, "deep/v.h"}, {incExact, "lib/d/off.c"}, {incExact, "include/xen/interface/*"}} {
		if !slices.Contains(got, want) {
			t.Errorf("%v is missing in %v", want, got)
		}
	}
	for _, inc := range got {
		switch filepath.Base(inc.name) {
		case "early.h", "old.h", "not.h", "x.c":
			t.Errorf("%v is no input", inc)
		}
	}
}

// Includes whose operand is a macro lead to what the macro can name, and where
// that cannot be told, to everything.
func TestResolveMacros(t *testing.T) {
	dir := t.TempDir()
	texts := map[string]string{
		"one.h": "#define ONE \"deep/one.h\"\n", "use1.c": "#include ONE\n",
		"two.h": "#define TWO TWICE\n", "twice.h": "#define TWICE <two/really.h>\n", "use2.c": "#include TWO\n",
		"three.h": "#define THREE STR(x.h)\n", "use3.c": "#include THREE\n",
		"use4.c": "#include NOWHERE\n", "use5.c": "#include PASTE(a)\n", "use6.c": "#include CONFIG_UNSET\n",
		"ev.h":           "#define TRACE_SYSTEM ev\n#include <trace/define_trace.h>\n",
		"my.h":           "#undef TRACE_SYSTEM\n#define TRACE_SYSTEM mine\n#define TRACE_INCLUDE_PATH ../../drivers/my\n#define TRACE_INCLUDE_FILE my\n",
		"define_trace.h": "#define TRACE_INCLUDE_FILE TRACE_SYSTEM\n# define __TRACE_INCLUDE(system) <trace/events/system.h>\n# define TRACE_INCLUDE(system) __TRACE_INCLUDE(system)\n#include TRACE_INCLUDE(TRACE_INCLUDE_FILE)\n",
	}
	var files []*scanned
	byName := map[string]*scanned{}
	for name, text := range texts {
		s := &scanned{name: name, file: filepath.Join(dir, name)}
		if err := os.WriteFile(s.file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := parseFile(s, []byte(text)); err != nil {
			t.Fatal(err)
		}
		files, byName[name] = append(files, s), s
	}
	if err := resolveMacros(context.Background(), files, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]include{"one.h": {incTail, "deep/one.h"}, "twice.h": {incTail, "two/really.h"}, "ev.h": {incTail, "trace/events/ev.h"}, "my.h": {incTail, "drivers/my/my.h"}} {
		if !slices.Contains(byName[name].includes, want) {
			t.Errorf("%s: %v is missing in %v", name, want, byName[name].includes)
		}
	}
	for name, want := range map[string]bool{"use1.c": false, "use2.c": false, "use3.c": true, "use4.c": true, "use5.c": true, "use6.c": false, "define_trace.h": false} {
		if byName[name].open != want {
			t.Errorf("%s: open %v, want %v", name, !want, want)
		}
	}
}

// A name leads to the file beside the including one, or to every file that ends
// in it.
func TestIncluders(t *testing.T) {
	g := newIncludeGraph([]*scanned{
		{name: "a/x.h"}, {name: "b/x.h"}, {name: "@/gen/x.h"},
		{name: "a/local.c", includes: []include{{incQuoted, "x.h"}}},
		{name: "c/any.c", includes: []include{{incQuoted, "x.h"}}},
		{name: "c/up.c", includes: []include{{incQuoted, "../b/x.h"}}},
		{name: "c/below.c", includes: []include{{incAngled, "b/../a/./x.h"}}},
		{name: "Makefile", includes: []include{{incExact, "b/x.h"}, {incExact, "x.h"}}},
		{name: "b/Makefile", includes: []include{{incExact, "a/*"}}},
		{name: "d/top.c", includes: []include{{incQuoted, "../c/any.c"}}},
	})
	g.index()
	for target, want := range map[string][]string{
		"a/x.h":     {"a/local.c", "b/Makefile", "c/any.c", "c/below.c"},
		"b/x.h":     {"Makefile", "c/any.c", "c/up.c"},
		"@/gen/x.h": {"c/any.c"},
		"c/any.c":   {"d/top.c"},
	} {
		got := g.includers(target)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
	if r := g.closure("@/gen/x.h"); len(r) != 3 || !r["d/top.c"] {
		t.Errorf("%v", r)
	}
}
