// SPDX-License-Identifier: Apache-2.0

package planpage

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"kmend/internal/plan"
	"kmend/internal/report/evidence"
	"kmend/internal/report/page"
	"kmend/internal/vm"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readPlan(t testing.TB, name string) *plan.Plan {
	t.Helper()
	p, err := ReadPlan(name, bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// example is the plan of testdata with all that a page can show.
func example(t testing.TB) Input {
	t.Helper()
	in := Input{Plan: readPlan(t, "plan.json"), Console: "booting\r\n\x1b[31mred\x1b[0m\r\n"}
	var err error
	if in.Test, err = ReadTest("test.json", bytes.NewReader(read(t, "test.json")), in.Plan); err != nil {
		t.Fatal(err)
	}
	before := []string{"static int parse(int length)", "{", "\treturn table[length - 1];", "}"}
	after := []string{"static int parse(int length)", "{", "\tif (!length)", "\t\treturn -EINVAL;", "\treturn table[length - 1];", "}"}
	long := strings.Split(strings.Repeat("\tstep();\n", 60), "\n")
	q := evidence.Request{Plan: in.Plan, NoKernel: "the kernel was not added on this machine"}
	if err := q.AddFix("fix.patch", read(t, "fix.patch")); err != nil {
		t.Fatal(err)
	}
	if in.Evidence, err = evidence.Gather(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	in.Evidence.Functions[0][0] = evidence.Function{
		Sources: []evidence.Source{
			{Name: "parse", File: "kernel/example.c", Sides: page.SideBySide(page.Text{Lines: before, First: 3}, page.Text{Lines: after, First: 3}, nil)},
			{Name: "example_read", File: "kernel/example.c", Sides: page.SideBySide(page.Text{Lines: long, First: 20}, page.Text{Lines: long, First: 22}, nil)},
			{Name: "made_by_macro", Note: "No definition of made_by_macro was found."},
		},
		Code: page.SideBySide(page.Text{Lines: []string{"mov    %eax,%ebx", "ret"}}, page.Text{Lines: []string{"mov    %ecx,%ebx", "ret"}}, nil),
	}
	in.Evidence.Functions[0][1].Note = "The instructions are not shown: nothing compiles here."
	return in
}

func write(t testing.TB, in Input) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, in); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// mainOf is the page without what all pages share.
func mainOf(t testing.TB, html string) string {
	t.Helper()
	_, rest, ok := strings.Cut(html, "</head>")
	body, _, ok2 := strings.Cut(rest, "<script>")
	if !ok || !ok2 {
		t.Fatalf("no head or no script in\n%s", html)
	}
	return body
}

func TestGolden(t *testing.T) {
	for name, in := range map[string]Input{"plan": example(t), "refused": {Plan: readPlan(t, "refused.json")}} {
		html := write(t, in)
		if again := write(t, in); again != html {
			t.Errorf("%s: written twice, the page differs", name)
		}
		got, file := mainOf(t, html), filepath.Join("testdata", name+".golden.html")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := string(read(t, name+".golden.html")); got != want {
			t.Errorf("%s: the page is not that of %s (-update writes it); it is\n%s", name, file, got)
		}
	}
}

// TestTheInputStays: cleaning text for the page does not touch the plan.
func TestTheInputStays(t *testing.T) {
	in := example(t)
	in.Plan.Name = "a\u202eb"
	before, _ := json.Marshal(in.Plan)
	html := write(t, in)
	if after, _ := json.Marshal(in.Plan); !bytes.Equal(before, after) {
		t.Errorf("the plan was changed")
	}
	if strings.Contains(html, "\u202e") || !strings.Contains(html, `a\u202eb`) {
		t.Errorf("a mark of direction is not shown as such")
	}
}

// poison puts text into every string that a value has.
func poison(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			poison(v.Field(i), text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), text)
		}
	case reflect.Map:
		out := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			out.SetMapIndex(reflect.ValueOf(k.String()+text), v.MapIndex(k))
		}
		v.Set(out)
	case reflect.String:
		v.SetString(v.String() + text)
	}
}

const attack = `</script></title></style><img src=x onerror="document.body.dataset.pwned=1">'"` + "`" + `--></pre><a href="javascript:1">` + "\u202e\x00\x1b[2J"

// hostile is the example with an attack in every text.
func hostile(t testing.TB) Input {
	in := example(t)
	verdict, tested := in.Plan.Verdict, in.Test.Verdict
	poison(reflect.ValueOf(in.Plan), attack)
	poison(reflect.ValueOf(in.Test), attack)
	in.Plan.Verdict, in.Test.Verdict = verdict, tested
	in.Console += attack
	in.NoConsole = attack
	return in
}

func TestNoTextBecomesMarkup(t *testing.T) {
	html := write(t, hostile(t))
	for _, bad := range []string{"<img", "</title></style>", `href="javascript:`, "\u202e", "\x00", "\x1b"} {
		if strings.Contains(html, bad) {
			t.Errorf("the page has %q as it came", bad)
		}
	}
	if n := strings.Count(html, "<script"); n != 1 {
		t.Errorf("%d scripts, want the page's own", n)
	}
	if n := strings.Count(html, "&lt;img src=x"); n < 60 {
		t.Errorf("only %d texts of the plan are shown", n)
	}
}

func TestPolicyForbidsTheNetwork(t *testing.T) {
	html := write(t, example(t))
	if !regexp.MustCompile(`http-equiv="Content-Security-Policy" content="default-src (?:&#39;|')none(?:&#39;|');`).MatchString(html) {
		t.Errorf("no policy in\n%.600s", html)
	}
	if m := regexp.MustCompile(`(?:src|href)=["'][^#"']`).FindString(strings.ReplaceAll(html, "http-equiv", "")); m != "" {
		t.Errorf("the page refers to something outside: %s", m)
	}
}

func TestReadPlanRefuses(t *testing.T) {
	good := string(read(t, "plan.json"))
	for what, c := range map[string]struct{ text, want string }{
		"nothing":   {"", "no JSON document"},
		"half":      {good[:len(good)/2], "no JSON document"},
		"version":   {strings.Replace(good, `"version": 1`, `"version": 2`, 1), "it has version 2, and this kmend knows version 1"},
		"another":   {`{"version": 1, "kernels": []}`, `"" is no verdict`},
		"type":      {strings.Replace(good, `"old_size": 64`, `"old_size": "64"`, 1), "no JSON document of kmend"},
		"trailing":  {good + "{}", "something follows the document"},
		"no reason": {`{"version": 1, "verdict": "refused"}`, "has no reason"},
		"too large": {strings.Repeat(" ", MaxInput+1), "more than 8 MB"},
	} {
		if p, err := ReadPlan("x.json", strings.NewReader(c.text)); err == nil || p != nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.json") {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func TestReadTestRefuses(t *testing.T) {
	p, good := readPlan(t, "plan.json"), string(read(t, "test.json"))
	for what, c := range map[string]struct{ old, now, want string }{
		"version": {`"version": 1`, `"version": 9`, "it has version 9"},
		"verdict": {`"failed"`, `"fine"`, `"fine" is no verdict`},
		"module":  {`"livepatch_example"`, `"livepatch_other"`, `about the live patch "livepatch_other"`},
		"kernel":  {`"build_id": "00`, `"build_id": "ff`, "the plan is for"},
	} {
		text := strings.Replace(good, c.old, c.now, 1)
		if r, err := ReadTest("t.json", strings.NewReader(text), p); err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// TestManyOfEverythingStaysBounded: a page of thousands of functions and
// references says what it left out.
func TestManyOfEverythingStaysBounded(t *testing.T) {
	in := example(t)
	in.Test = nil
	f := in.Plan.Objects[0].Functions[0]
	f.Reason.Via = strings.Split(strings.Repeat("a b ", 3000), " ")
	for range 5000 {
		in.Plan.Objects[0].Functions = append(in.Plan.Objects[0].Functions, f)
		in.Plan.Units[0].References = append(in.Plan.Units[0].References, in.Plan.Units[0].References[0])
	}
	for i := range in.Plan.Objects[0].Functions {
		in.Plan.Objects[0].Functions[i].Reason.Via = f.Reason.Via[:i%20]
		in.Plan.Objects[0].Functions[i].Name += strings.Repeat("x", i%7)
	}
	html := write(t, in)
	for _, want := range []string{"3002 more are not shown", "too many for a picture"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// FuzzPage: no plan and no result, however made, makes reading or writing
// panic, or puts markup of its own into the page.
func FuzzPage(f *testing.F) {
	f.Add(read(f, "plan.json"), read(f, "test.json"))
	f.Add(read(f, "refused.json"), []byte("{}"))
	in := hostile(f)
	p, _ := json.Marshal(in.Plan)
	r, _ := json.Marshal(in.Test)
	f.Add(p, r)
	f.Fuzz(func(t *testing.T, planText, testText []byte) {
		p, err := ReadPlan("p", bytes.NewReader(planText))
		if err != nil {
			if p != nil {
				t.Fatal("an error and a plan")
			}
			return
		}
		var r *vm.Report
		if r, err = ReadTest("t", bytes.NewReader(testText), p); err != nil {
			r = nil
		}
		ev, err := evidence.Gather(t.Context(), evidence.Request{Plan: p, NoKernel: string(testText[:min(len(testText), 100)])})
		if err != nil {
			t.Fatal(err)
		}
		html := write(t, Input{Plan: p, Evidence: ev, Test: r, Console: string(testText)})
		if n := strings.Count(html, "<script"); n != 1 || strings.Contains(html, "<img") || !strings.HasSuffix(html, "</html>\n") {
			t.Fatalf("%d scripts, or other markup, in\n%s", n, html)
		}
	})
}
