// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

type edit = kerneltest.Edit

func sub(file, from, to string) edit { return edit{File: file, Old: from, New: to} }

// makePlan runs the pipeline on one diff.
func makePlan(t *testing.T, k *kernel.Kernel, diff []byte) *plan.Build {
	t.Helper()
	b, err := plan.Make(t.Context(), plan.Request{Kernel: k, Name: "livepatch_test", Patches: []plan.Input{{Name: "test.patch", Data: diff}}})
	if err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	return b
}

// refusalCase is a fix and one of the refusals that it must meet with.
type refusalCase struct {
	name  string
	edits []edit
	diff  string // instead of edits
	code  string
	at    string   // file
	sym   string   // symbol, "" for none
	words []string // in why, advice and detail together
	also  []string // further codes that are right, too; any other is an error
}

const cmdline = "fs/proc/cmdline.c"

// showing puts code in front of the body of cmdline_proc_show, which is among
// the smallest things the kernel has.
func showing(declarations, statements string) []edit {
	return []edit{
		sub(cmdline, "static int cmdline_proc_show", declarations+"\nstatic int cmdline_proc_show"),
		sub(cmdline, "\tseq_puts(m, saved", "\t"+statements+"\n\tseq_puts(m, saved"),
	}
}

func (c *refusalCase) patch(t *testing.T, k *kernel.Kernel) []byte {
	t.Helper()
	if c.diff != "" {
		return []byte(c.diff)
	}
	return kerneltest.Diff(t, k, c.edits...)
}

func TestRefusals(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range refusalCases {
		t.Run(c.name, func(t *testing.T) {
			b := makePlan(t, k, c.patch(t, k))
			checkRefused(t, b, &c)
		})
	}
}

// checkRefused wants the refusal of the case among those of the plan, which may
// have no others but those that the case names, and nothing to build from.
func checkRefused(t *testing.T, b *plan.Build, c *refusalCase) {
	t.Helper()
	p := b.Plan
	if p.Verdict != plan.Refused || len(b.Pieces) > 0 || p.Module != nil {
		t.Errorf("verdict %s with %d pieces", p.Verdict, len(b.Pieces))
	}
	found := false
	for _, r := range p.Refusals {
		t.Log(r)
		if r.Why == "" || r.Advice == "" || strings.Contains(r.String(), "\n") {
			t.Errorf("the refusal is not one line with a reason and an advice: %q", r)
		}
		if r.Code != c.code {
			if !slices.Contains(c.also, r.Code) {
				t.Errorf("unexpected refusal: %s", r)
			}
			continue
		}
		found = found || c.is(r)
	}
	if !found {
		t.Errorf("no refusal %s of %q, symbol %q, with the words %q", c.code, c.at, c.sym, c.words)
	}
}

// is reports whether the refusal is the one that the case is about.
func (c *refusalCase) is(r plan.Refusal) bool {
	stem := r.Symbol
	if c.sym != "" && stem != c.sym {
		stem, _, _ = strings.Cut(stem, ".") // where.0
	}
	text := strings.Join([]string{r.Why, r.Advice, r.Detail}, "\n")
	return r.File == c.at && stem == c.sym && !slices.ContainsFunc(c.words, func(w string) bool { return !strings.Contains(text, w) })
}

// codes reads the codes out of the source, so that none is forgotten.
func codes(t *testing.T) (out []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Code") {
			code, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, code)
		}
		return true
	})
	if len(out) < 30 {
		t.Fatalf("only %d codes found: %q", len(out), out)
	}
	return out
}

// Every code that a plan can have is provoked by a case here, but for those
// that are named with the test that does it, or the reason why none can.
func TestEveryCodeHasACase(t *testing.T) {
	elsewhere := map[string]string{
		plan.CodeKernelConfig:    "TestRefusedKernels",
		plan.CodeRunPreMismatch:  "TestForeignSource",
		plan.CodeAmbiguousSymbol: "TestAmbiguousSymbol",
		plan.CodeNotCovered:      "TestWhatThePatchDoesNotCoverIsRefused",
		plan.CodeModuleSpecial:   "of the writer: TestModuleSpecial in cmd/kmend",
		plan.CodeVerify:          "a defect of kmend",
		plan.CodeStateDuplicated: "TestBind, TestSourceWayRefuses",
		plan.CodeExtractedSet:    "TestBind",
		plan.CodeExtractedData:   "TestBind, TestSourceWayRefuses",
		plan.CodeExtractedText:   "TestSourceWayRefuses",
		plan.CodeCloneReplaced:   "TestBind",
		plan.CodeNotExtracted:    "of package extract: TestCases there",
		plan.CodePolicy:          "of package extract: TestCases there, TestExtractRefuses in cmd/kmend",
		plan.CodeWaysDisagree:    "TestSourceWay",
	}
	for _, code := range codes(t) {
		has := slices.ContainsFunc(refusalCases, func(c refusalCase) bool { return c.code == code })
		if _, named := elsewhere[code]; has == named {
			t.Errorf("%s: case here %t, named as tested elsewhere %t", code, has, named)
		}
	}
}
