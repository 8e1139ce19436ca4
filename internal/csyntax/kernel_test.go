// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kmend/internal/ctext"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
	"kmend/internal/oracle"
)

// TestKernelUnits holds what the package says of units of the stock kernel
// against GCC. The first few by default, $KMEND_TEST_CSYNTAX_UNITS of them else.
//
//   - Functions: those defined, and those declared at file scope or in blocks,
//     are those that gcc -aux-info lists, at the same tokens.
//   - Uses: the unit is compiled a second time with every typedef, tag and
//     enumerator, and every static function and variable, renamed where the
//     package says that it is declared or used. A use that was missed is not
//     declared; a local or a member taken for a use is another one than its
//     declaration. The code must be the same but for the names.
func TestKernelUnits(t *testing.T) {
	n, renamed := 6, 2
	if s := os.Getenv("KMEND_TEST_CSYNTAX_UNITS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		renamed = n
	}
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	s, err := oracle.NewSampler(t.Context(), tree, k.SourceDir, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("unit", func(t *testing.T) {
		for i := range n {
			c, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c == nil {
				t.Fatalf("only %d units", i)
			}
			t.Run(c.Source, func(t *testing.T) {
				t.Parallel()
				text, err := tree.Preprocess(t.Context(), kbuild.Job{Command: c})
				if err != nil {
					t.Fatal(err)
				}
				checkUnit(t, c.Gcc, text, i < renamed)
			})
		}
	})
}

// checkUnit is the test of one unit, preprocessed, that gcc compiles.
func checkUnit(t *testing.T, gcc []string, text []byte, rename bool) {
	names, tokens := lex(t, text)
	u, err := Parse(names, tokens)
	if err != nil {
		t.Fatal(err)
	}
	if err := invariants(u); err != nil {
		t.Fatal(err)
	}
	var refs [][]Ref
	count := 0
	for i := range u.Items {
		r, err := u.Refs(i)
		if err != nil {
			t.Error(err)
		}
		refs = append(refs, r)
		count += len(r)
	}
	if t.Failed() {
		return
	}
	before, aux := assemble(t, gcc, u, text, nil, rename)
	checkFunctions(t, u, aux)
	places := 0
	if rename {
		r := newRenaming(u, refs)
		places = len(r.at)
		after, _ := assemble(t, gcc, u, text, r.at, true)
		if diff := r.firstDifference(before, after); diff != "" {
			t.Error(diff)
		}
	}
	t.Logf("%d tokens, %d items, %d uses, %d places renamed", len(tokens), len(u.Items), count, places)
}

// pragmaLine is one that may change code; those for diagnostics may stand where
// they get in the way of one token on a line.
var pragmaLine = regexp.MustCompile(`(?m)^#pragma (pack|GCC (visibility|optimize|target|push_options|pop_options|reset_options)).*\n`)

// assemble compiles the tokens of a unit, one on a line, some of them with
// another text, and returns the assembly, if code is set, and what -aux-info
// says.
func assemble(t *testing.T, gcc []string, u *Unit, source []byte, other map[int]string, code bool) (assembly, aux []byte) {
	t.Helper()
	dir := t.TempDir()
	pragmas := pragmaLine.FindAllIndex(source, -1)
	var text bytes.Buffer
	for i := range u.Tokens {
		for len(pragmas) > 0 && pragmas[0][0] < int(u.Tokens[i].Off) {
			fmt.Fprintf(&text, "%s# %d \"a.i\"\n", source[pragmas[0][0]:pragmas[0][1]], i+1)
			pragmas = pragmas[1:]
		}
		if s, ok := other[i]; ok {
			text.WriteString(s)
		} else {
			text.WriteString(u.Names.Text(u.Tokens[i].Name))
		}
		text.WriteByte('\n')
	}
	if err := os.WriteFile(filepath.Join(dir, "a.i"), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, a := range gcc[1:] { // what makes code; the rest is for the preprocessor or for people
		if len(a) > 2 && strings.Contains("mfOsp", a[1:2]) && a[0] == '-' && !strings.HasPrefix(a, "-fdump") {
			args = append(args, a)
		}
	}
	args = append(args, "-w", "-g0", "-aux-info", "aux")
	if code {
		args = append(args, "-S", "-o", "a.s")
	} else {
		args = append(args, "-fsyntax-only")
	}
	cmd := exec.CommandContext(t.Context(), gcc[0], append(args, "a.i")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%.2000s", err, out)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if code {
		assembly = read("a.s")
	}
	return assembly, read("aux")
}

var auxLine = regexp.MustCompile(`(?m)^/\* a\.i:(\d+):[NOI]([CF]) \*/`)

// checkFunctions compares the functions of a unit with those that GCC saw: the
// line of the aux-info is the number of the token that names the function.
func checkFunctions(t *testing.T, u *Unit, aux []byte) {
	t.Helper()
	want := map[string][]int{}
	for _, m := range auxLine.FindAllSubmatch(aux, -1) {
		line, _ := strconv.Atoi(string(m[1]))
		want[string(m[2])] = append(want[string(m[2])], line-1)
	}
	got, unsure := map[string][]int{}, map[int]bool{}
	for i, it := range u.Items {
		for _, d := range it.Decls {
			switch {
			case d.Kind == Func && d.Def:
				got["F"] = append(got["F"], d.Tok)
			case d.Kind == Func:
				got["C"] = append(got["C"], d.Tok)
			case d.Unsure:
				unsure[d.Tok] = true
			}
		}
		locals, err := u.Locals(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range locals {
			if l.Func {
				got["C"] = append(got["C"], l.Tok)
			}
		}
	}
	if len(got["F"]) == 0 || len(got["C"]) == 0 {
		t.Errorf("%d functions defined, %d declared: no such unit", len(got["F"]), len(got["C"]))
	}
	for kind, what := range map[string]string{"F": "defined", "C": "declared"} {
		for _, tok := range want[kind] {
			if !slices.Contains(got[kind], tok) && !unsure[tok] {
				t.Errorf("GCC has the function %s at token %d %s", u.Names.Text(u.Tokens[tok].Name), tok, what)
			}
		}
		for _, tok := range got[kind] {
			if !slices.Contains(want[kind], tok) {
				t.Errorf("GCC has no function %s at token %d %s", u.Names.Text(u.Tokens[tok].Name), tok, what)
			}
		}
	}
}

// renaming gives names of a unit new ones of the same length, since the code
// may hold the length of a name (__func__).
type renaming struct {
	at  map[int]string    // by token
	old map[string]string // by new name
}

func newRenaming(u *Unit, refs [][]Ref) *renaming {
	r := &renaming{at: map[int]string{}, old: map[string]string{}}
	type key struct {
		space Namespace
		name  ctext.Name
	}
	fresh := map[key]string{}
	for _, it := range u.Items {
		for _, d := range it.Decls {
			k := key{d.Space, d.Name}
			mine := d.Space == Tag || d.Kind == Typedef || d.Kind == Enumerator || d.Storage&Static != 0
			if mine && fresh[k] == "" {
				fresh[k] = r.fresh(u.Names, u.Names.Text(d.Name))
			}
		}
	}
	for i, it := range u.Items {
		for _, d := range it.Decls {
			if s := fresh[key{d.Space, d.Name}]; s != "" {
				r.at[d.Tok] = s
			}
		}
		for _, ref := range refs[i] {
			if s := fresh[key{ref.Space, ref.Name}]; s != "" {
				if ref.Quoted {
					s = `"` + s + `"`
				}
				r.at[ref.Tok] = s
			}
		}
	}
	return r
}

// fresh makes a name that the unit does not have.
func (r *renaming) fresh(names *ctext.Names, name string) string {
	for i := range name {
		for _, c := range "QZXJYWKVqzxjywkvABCDEFGHILMNOPRSTUabcdefghilmnoprstu" {
			s := name[:i] + string(c) + name[i+1:]
			if _, used := names.Lookup(s); !used && r.old[s] == "" {
				r.old[s] = name
				return s
			}
		}
	}
	return ""
}

var word = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// firstDifference gives the new names in an assembly their old ones and
// compares.
func (r *renaming) firstDifference(before, after []byte) string {
	after = word.ReplaceAllFunc(after, func(w []byte) []byte {
		if old := r.old[string(w)]; old != "" {
			return []byte(old)
		}
		return w
	})
	a, b := bytes.Split(before, []byte("\n")), bytes.Split(after, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("line %d of the code is %q, with other names %q", i+1, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("the code has %d lines, with other names %d", len(a), len(b))
	}
	return ""
}

// TestRenamingFindsErrors: the test of uses fails if a use is missed or one too
// many is reported.
func TestRenamingFindsErrors(t *testing.T) {
	text := "static int var; typedef int ty; int f(void) { { int var = 2; var++; } ty x = var; return x; }"
	u := parseText(t, text)
	refs, err := u.Refs(2)
	if err != nil || len(refs) != 2 {
		t.Fatalf("%+v, %v", refs, err)
	}
	gcc := []string{"gcc-12", "-O2"}
	compile := func(refs []Ref) error {
		r := newRenaming(u, [][]Ref{nil, nil, refs})
		var words []string
		for i := range u.Tokens {
			w := u.Names.Text(u.Tokens[i].Name)
			if s, ok := r.at[i]; ok {
				w = s
			}
			words = append(words, w)
		}
		cmd := exec.Command(gcc[0], "-x", "c", "-fsyntax-only", "-")
		cmd.Stdin = strings.NewReader(strings.Join(words, "\n"))
		return cmd.Run()
	}
	if err := compile(refs); err != nil {
		t.Fatal(err)
	}
	local := slices.IndexFunc(u.Tokens, func(tok ctext.Token) bool { return tok.Off == int32(strings.Index(text, "var = 2")) })
	for what, wrong := range map[string][]Ref{
		"a use is missed": refs[:1], "a type is missed": refs[1:], "a local is taken for a use": append(slices.Clone(refs), Ref{Name: refs[1].Name, Tok: local}),
	} {
		var exit *exec.ExitError
		if err := compile(wrong); !errors.As(err, &exit) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
