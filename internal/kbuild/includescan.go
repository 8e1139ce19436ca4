// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"path"
	"regexp"
	"slices"
	"strings"
)

// traceInclude is the one #include in the kernel that pastes a name together
// (include/trace/define_trace.h); resolveMacros knows what it reads.
const traceInclude = "TRACE_INCLUDE(TRACE_INCLUDE_FILE)"

// scanIncludes finds every #include in a text: in comments, in strings (of
// programs that write C) and on both sides of #if. macros are the operands of
// #include that are no file name, which count at the start of a line only.
func scanIncludes(data []byte, ext string) (out []include, macros []string) {
	word := []byte("include")
	for at := 0; ; {
		i := bytes.Index(data[at:], word)
		if i < 0 {
			return out, macros
		}
		i += at
		at = i + len(word)
		k := i - 1
		for k >= 0 && (data[k] == ' ' || data[k] == '\t') {
			k--
		}
		// "#include", and the assembler's ".include"
		if k < 0 || data[k] != '#' && (data[k] != '.' || k != i-1) {
			continue
		}
		rest := data[at:]
		rest = bytes.TrimPrefix(rest, []byte("_next"))
		for n := 0; ; n++ { // to the end of the line and those that continue it
			j := bytes.IndexByte(rest[n:], '\n')
			if j < 0 {
				break
			}
			if n += j; n == 0 || rest[n-1] != '\\' {
				rest = rest[:n]
				break
			}
		}
		operand := skipComments(rest)
		if inc, ok := fileOperand(operand); ok {
			out = append(out, inc)
			continue
		}
		if data[k] == '#' && startsLine(data, k) && cText(ext) {
			macros = append(macros, strings.TrimSpace(string(stripComment(operand))))
		}
	}
}

// cText says whether a file of that suffix is C or assembler, where an #include
// without a file name means a macro; elsewhere it is a comment.
func cText(ext string) bool {
	switch ext {
	case ".c", ".h", ".S", ".inc", ".uc", ".c_shipped", ".h_shipped":
		return true
	}
	return false
}

func startsLine(data []byte, k int) bool {
	for k--; k >= 0 && data[k] != '\n'; k-- {
		if data[k] != ' ' && data[k] != '\t' {
			return false
		}
	}
	return true
}

// skipComments skips blanks and comments.
func skipComments(b []byte) []byte {
	for {
		b = bytes.TrimLeft(b, " \t\r\n\\") // \": inside a string
		if !bytes.HasPrefix(b, []byte("/*")) {
			return b
		}
		i := bytes.Index(b, []byte("*/"))
		if i < 0 {
			return b
		}
		b = b[i+2:]
	}
}

func stripComment(b []byte) []byte {
	for _, mark := range []string{"/*", "//"} {
		if i := bytes.Index(b, []byte(mark)); i >= 0 {
			b = b[:i]
		}
	}
	return b
}

// fileOperand reads "x.h" or <x.h>.
func fileOperand(b []byte) (include, bool) {
	if len(b) < 3 {
		return include{}, false
	}
	kind, end := incQuoted, byte('"')
	switch b[0] {
	case '"':
	case '<':
		kind, end = incAngled, '>'
	default:
		return include{}, false
	}
	i := bytes.IndexByte(b[1:], end)
	if i <= 0 {
		return include{}, false
	}
	name := strings.TrimSuffix(string(b[1:1+i]), `\`) // "…\"" inside a string
	return include{kind, name}, name != ""
}

var (
	makeToken = regexp.MustCompile(`(?:\$\([^()\s]*\)|[A-Za-z0-9_.*?+-])(?:\$\([^()\s]*\)|[A-Za-z0-9_./*?+-])*\.[hcs]\b`)
	makeLists = regexp.MustCompile(`^\s*(?:generic-y|generated-y|mandatory-y|no-header-test|header-test|clean-files|no-clean-files|targets|extra-y|always-y)\b`)
	hostprogs = regexp.MustCompile(`^\s*(?:hostprogs|userprogs)[A-Za-z0-9_$()-]*\s*[:+?]?=(.*)$`)
	objsOf    = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)-(?:objs|y|cxxobjs)\s*[:+?]?=(.*)$`)
)

// scanMakefile finds the sources that a makefile names: headers that programs of
// the build read or that are given to the compiler (-include), C files compiled
// by rules of its own, for another place or only to text (.s), and the programs
// that run at build time. dir is where the makefile lies.
func scanMakefile(text, dir string) (out []include) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	programs := map[string]bool{}
	objs := map[string][]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if m := hostprogs.FindStringSubmatch(line); m != nil {
			for _, p := range strings.Fields(m[1]) {
				programs[p] = true
			}
			continue
		}
		if m := objsOf.FindStringSubmatch(line); m != nil {
			objs[m[1]] = append(objs[m[1]], strings.Fields(m[2])...)
		}
		if strings.HasPrefix(strings.TrimSpace(line), "#") || makeLists.MatchString(line) {
			continue
		}
		for _, tok := range makeToken.FindAllString(line, -1) {
			out = append(out, makeName(tok, dir)...)
		}
	}
	for p := range programs {
		out = append(out, include{incExact, path.Join(dir, p+".c")})
		for _, o := range objs[p] {
			if c, ok := strings.CutSuffix(o, ".o"); ok {
				out = append(out, include{incExact, path.Join(dir, c+".c")})
			}
		}
	}
	return out
}

// makeName turns a word of a makefile into the files that it may stand for.
func makeName(tok, dir string) []include {
	if c, ok := strings.CutSuffix(tok, ".s"); ok { // made from C to be read by a script
		tok = c + ".c"
	}
	name, kind := tok, incTail
	for _, v := range []struct{ name, value string }{
		{"$(srctree)/$(src)/", dir}, {"$(srctree)/$(obj)/", dir}, {"$(srctree)/", "."}, {"$(objtree)/", "."}, {"$(src)/", dir}, {"$(obj)/", dir},
	} {
		if rest, ok := strings.CutPrefix(tok, v.name); ok {
			name, kind = path.Join(v.value, rest), incExact
			break
		}
	}
	if i := strings.LastIndexByte(name, ')'); i >= 0 { // another variable: all that ends so
		name, kind = strings.TrimPrefix(name[i+1:], "/"), incTail
	}
	if strings.ContainsAny(name, "*?") || name == "" {
		return globName(name)
	}
	if kind == incExact {
		return []include{{incExact, name}}
	}
	if name == tok { // plain: from the root or the makefile's directory
		return []include{{incExact, name}, {incExact, path.Join(dir, name)}}
	}
	if strings.HasPrefix(name, ".") && !strings.Contains(name, "/") {
		return nil // $(VAR).h: nothing but a suffix is left of it
	}
	return []include{{incTail, name}}
}

// globName keeps a pattern of headers as the directory that it selects from; of
// C files, which a makefile compiles one by one, patterns say nothing.
func globName(name string) []include {
	if path.Ext(name) != ".h" || strings.ContainsAny(path.Dir(name), "*?") || path.Dir(name) == "." {
		return nil
	}
	return []include{{incExact, path.Dir(name) + "/" + anyName}}
}

// anyName stands for all files of a directory.
const anyName = "*"

// definition is one #define of a name that matters for a computed include.
type definition struct {
	s    *scanned
	name string // with "(" if it has parameters
	body string
}

// resolveMacros bounds the includes whose operand is a macro. A unit sees a
// macro by reading the file that defines it, so what the definition can name is
// put down as included by that file: every file whose path ends so.
func resolveMacros(ctx context.Context, files []*scanned, configured func(name string) bool) error {
	users := map[string][]*scanned{}
	for _, s := range files {
		for _, m := range s.macros {
			users[m] = append(users[m], s)
		}
	}
	names := []string{"TRACE_INCLUDE_FILE", "TRACE_SYSTEM", "TRACE_INCLUDE_PATH", "__TRACE_INCLUDE", "TRACE_INCLUDE"}
	for m, us := range users {
		if m == traceInclude {
			continue
		}
		if !identifier.MatchString(m) {
			for _, s := range us {
				s.open = true
			}
			continue
		}
		names = append(names, m)
	}
	slices.Sort(names)
	done := map[string]bool{}
	for len(names) > 0 {
		defs, err := definitions(ctx, files, names)
		if err != nil {
			return err
		}
		for _, n := range names {
			done[n] = true
			defined := slices.ContainsFunc(defs, func(d definition) bool { return strings.TrimSuffix(d.name, "(") == n })
			// CONFIG_ names are the configuration's; others come from nobody knows where.
			if !defined && (!strings.HasPrefix(n, "CONFIG_") || configured(n)) {
				for _, s := range users[n] {
					s.open = true
				}
			}
		}
		names = names[:0]
		for _, n := range addDefinitions(defs, users) {
			if !done[n] && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return nil
}

var identifier = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// definitions finds the #defines of names, and what makefiles say of them.
func definitions(ctx context.Context, files []*scanned, names []string) ([]definition, error) {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	re := regexp.MustCompile(`#[ \t]*define[ \t]+(` + strings.Join(quoted, "|") + `)\b(\(?)([^\n]*)`)
	found := make([][]definition, len(files))
	at := map[*scanned]int{}
	for i, s := range files {
		at[s] = i
	}
	err := readAllAgain(ctx, files, func(s *scanned, data []byte) error {
		has := false
		for _, n := range names {
			has = has || bytes.Contains(data, []byte(n))
		}
		if !has {
			return nil
		}
		if isMakefile(path.Base(s.name)) { // -DNAME=…
			for _, n := range names {
				if bytes.Contains(data, []byte("-D"+n+"=")) {
					found[at[s]] = append(found[at[s]], definition{s, n, "-D"})
				}
			}
		}
		for _, m := range re.FindAllSubmatch(data, -1) {
			body := strings.TrimSpace(string(stripComment(m[3])))
			found[at[s]] = append(found[at[s]], definition{s, string(m[1]) + string(m[2]), body})
		}
		return nil
	})
	return slices.Concat(found...), err
}

// readAllAgain is readAll for files that were parsed before.
func readAllAgain(ctx context.Context, files []*scanned, parse func(s *scanned, data []byte) error) error {
	var plain []*scanned
	for _, s := range files {
		if s.link == "" && (cText(path.Ext(s.name)) || isMakefile(path.Base(s.name))) {
			plain = append(plain, s)
		}
	}
	return readAll(ctx, plain, parse)
}

// tracePaste are the definitions that addTrace understands.
var tracePaste = map[string]bool{"<trace/events/system.h>": true, "__stringify(TRACE_INCLUDE_PATH/system.h)": true, "__TRACE_INCLUDE(system)": true}

// addDefinitions turns definitions into includes of the files that they stand
// in; names that they lead to are returned.
func addDefinitions(defs []definition, users map[string][]*scanned) (more []string) {
	paths := map[*scanned][]string{}
	for _, d := range defs {
		if d.name == "TRACE_INCLUDE_PATH" {
			paths[d.s] = append(paths[d.s], strings.TrimSuffix(d.body, "/"))
		}
	}
	unknown := func(names ...string) {
		for _, n := range names {
			for _, s := range users[n] {
				s.open = true
			}
		}
	}
	for _, d := range defs {
		name := strings.TrimSuffix(d.name, "(")
		switch name {
		case "TRACE_INCLUDE_PATH":
			continue
		case "TRACE_INCLUDE", "__TRACE_INCLUDE":
			_, body, _ := strings.Cut(d.body, ")")
			if !tracePaste[strings.TrimSpace(body)] {
				unknown(traceInclude)
			}
			continue
		case "TRACE_INCLUDE_FILE", "TRACE_SYSTEM":
			if d.body == "TRACE_SYSTEM" || d.body == "" {
				continue // define_trace.h: the file is named as the system
			}
			if strings.HasPrefix(d.body, `"`) {
				continue // kernel/trace/trace_events.c: names no file
			}
			if strings.ContainsAny(d.body, " \t(<#") {
				unknown(traceInclude)
				continue
			}
			if len(paths[d.s]) == 0 {
				d.s.includes = append(d.s.includes, include{incTail, "trace/events/" + d.body + ".h"})
			}
			for _, p := range paths[d.s] {
				d.s.includes = append(d.s.includes, include{incTail, cleanEnd(p + "/" + d.body + ".h")})
			}
			continue
		}
		switch inc, ok := fileOperand([]byte(d.body)); {
		case ok && name == d.name:
			d.s.includes = append(d.s.includes, include{incTail, inc.name})
		case identifier.MatchString(d.body) && name == d.name:
			users[d.body] = append(users[d.body], users[name]...)
			more = append(more, d.body)
		default:
			unknown(name)
		}
	}
	return more
}
