// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/impact/index"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
	"kmend/internal/report/browser"
)

// realUnits are units of the kernel in which GCC inlines and clones.
var realUnits = []string{"fs/pipe.c", "kernel/irq/irqdesc.c", "lib/kstrtox.c"}

// realBuilds are indexes of real units as they are and at a level.
func realBuilds(t *testing.T) []Build {
	t.Helper()
	k := kerneltest.Open(t)
	cc, err := compiler.Identify(t.Context(), strings.Fields(k.Compiler))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := tree.Commands(t.Context(), realUnits)
	if err != nil {
		t.Fatal(err)
	}
	var builds []Build
	for _, level := range []compiler.Level{compiler.Plain, compiler.OnlyInlineStatic} {
		flags, err := cc.LevelFlags(t.Context(), level)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, c := range commands {
			r, err := tree.Compile(t.Context(), kbuild.Job{Command: c, Flags: flags, Bare: true})
			if err != nil {
				t.Fatal(err)
			}
			keep(t, filepath.Join(dir, strings.TrimSuffix(c.Source, ".c")+".o"), r.Object)
			keep(t, filepath.Join(dir, c.Source+".000i.ipa-clones"), r.Clones)
		}
		data, err := index.Build(t.Context(), index.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		x, err := index.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		builds = append(builds, Build{level.String(), x})
	}
	return builds
}

func keep(t *testing.T, name string, data []byte) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCompareInABrowser: what the page says of two builds is what kmend impact
// says of each, for units that the test compiles, and for the indexes of whole
// builds that $KMEND_TEST_INDEXES names (two paths with a colon between them).
func TestCompareInABrowser(t *testing.T) {
	c := browser.Start(t)
	t.Run("units", func(t *testing.T) { compared(t, c, realBuilds(t), "units") })
	names := filepath.SplitList(os.Getenv("KMEND_TEST_INDEXES"))
	if len(names) != 2 {
		return
	}
	t.Run("builds", func(t *testing.T) {
		var builds []Build
		for _, name := range names {
			x, err := index.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = x.Close() })
			builds = append(builds, Build{strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)), x})
		}
		compared(t, c, builds, "builds")
	})
}

// asked is one function and what its index answers.
type asked struct {
	f *index.Function
	n int // symbols that depend on it
}

// ask asks an index for every function, in the order of the index, and gives
// them by name and file as well.
func ask(t *testing.T, x *index.Index) (all []asked, by map[nameAndFile][]asked) {
	t.Helper()
	q := x.NewQuery()
	by = map[nameAndFile][]asked{}
	if err := q.Each(func(f *index.Function) bool { all = append(all, asked{f: f}); return true }); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		answer, err := q.Answer(all[i].f)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range answer.Symbols {
			if !s.Own {
				all[i].n++
			}
		}
		k := nameAndFile{all[i].f.Name, path.Clean(all[i].f.File)}
		by[k] = append(by[k], all[i])
	}
	return all, by
}

func compared(t *testing.T, c *browser.Chromium, builds []Build, name string) {
	p := file(t, Input{Builds: builds})
	first, firstBy := ask(t, builds[0].Index)
	other, otherBy := ask(t, builds[1].Index)
	tab := c.Open(t, p, desk)
	curvesAgree(t, tab, first, other)

	// The sentence, and the largest change as a link.
	both, fewer, more := 0, 0, 0
	for k, a := range firstBy {
		if b := otherBy[k]; len(a) == 1 && len(b) == 1 {
			both++
			fewer += map[bool]int{true: 1}[b[0].n < a[0].n]
			more += map[bool]int{true: 1}[b[0].n > a[0].n]
		}
	}
	want := fmt.Sprintf("%d functions are in both builds, by name and file. In %s fewer symbols depend on %d of them, more on %d, as many on %d.",
		both, builds[1].Name, fewer, more, both-fewer-more)
	if got := tab.Text("#builds ~ h3 ~ p"); got != want || fewer == 0 {
		t.Errorf("the page says %q, the indexes %q", got, want)
	}
	var row []string
	tab.Eval(`[...document.querySelectorAll("#builds ~ .box tbody tr")[0].children].map((e) => e.innerText)`, &row)
	k := nameAndFile{row[0], row[1]}
	if row[2] != fmt.Sprint(firstBy[k][0].n) || row[3] != fmt.Sprint(otherBy[k][0].n) {
		t.Errorf("the largest change is %v, the indexes say %d and %d", row, firstBy[k][0].n, otherBy[k][0].n)
	}
	tab.Click("#builds ~ .box tbody tr a")
	tab.Await("a click on the largest change", "#answer", row[0], builds[1].Name+": "+symbols(otherBy[k][0].n), symbols(firstBy[k][0].n)+" would have to be replaced")
	tab.Screenshot("compare-"+name, false)

	functionsAgree(t, tab, first, firstBy, otherBy, builds[1].Name)
	tab.Check(t)
}

// symbols is a number of symbols as the answer of the page has it.
func symbols(n int) string {
	switch {
	case n == 1:
		return "1 symbol"
	case n < 1000:
		return fmt.Sprintf("%d symbols", n)
	}
	return fmt.Sprintf("%d,%03d symbols", n/1000, n%1000)
}

// curvesAgree: the table of the curves, which is what the picture is drawn from.
func curvesAgree(t *testing.T, tab *browser.Tab, builds ...[]asked) {
	var got [][]string
	tab.Eval(`[...document.querySelectorAll(".chart:has(.curves) tbody tr")].map((r) => [...r.children].map((e) => e.textContent))`, &got)
	var want [][]string
	widest := 0
	for _, all := range builds {
		for _, a := range all {
			widest = max(widest, bits.Len(uint(a.n)))
		}
	}
	for i := range widest + 1 {
		limit := 1<<i - 1
		row := []string{fmt.Sprint(limit)}
		for _, all := range builds {
			n := 0
			for _, a := range all {
				if a.n <= limit {
					n++
				}
			}
			row = append(row, fmt.Sprintf("%.1f %%", 100*float64(n)/float64(len(all))))
		}
		want = append(want, row)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the curves are of\n%v\nand the indexes say\n%v", got, want)
	}
}

// functionsAgree: functions at random, looked at one after the other.
func functionsAgree(t *testing.T, tab *browser.Tab, first []asked, firstBy, otherBy map[nameAndFile][]asked, other string) {
	r := rand.New(rand.NewPCG(5, 50))
	some := 0
	for range 200 {
		a := first[r.IntN(len(first))]
		where := path.Clean(a.f.File)
		spec := a.f.File
		if a.f.Line > 0 {
			spec += fmt.Sprintf(":%d", a.f.Line)
		}
		k := nameAndFile{a.f.Name, where}
		b, there := otherBy[k], "no such function, or several"
		if len(firstBy[k]) == 1 && len(b) == 1 {
			there = symbols(b[0].n)
		}
		tab.Eval(fmt.Sprintf("location.hash = 'function=' + encodeURIComponent(%q); 0", spec+":"+a.f.Name), nil)
		var got [2]string
		// The page answers when the browser has told it of the new address.
		tab.Eval(fmt.Sprintf(`new Promise((r) => { const look = () => {
			const h = document.querySelector("#answer h3");
			if (h?.innerText === %q && document.querySelector("#answer p").innerText.startsWith(%q)) r([document.querySelector("#answer strong").innerText, document.querySelector("#answer .others").innerText]);
			else setTimeout(look, 5);
		}; look(); })`, a.f.Name, spec+":"), &got)
		if want := [2]string{symbols(a.n), "In the other builds: " + other + ": " + there + "."}; got != want {
			t.Errorf("%s: the page says %q, the indexes %q", spec+":"+a.f.Name, got, want)
		}
		if a.n > 0 {
			some++
		}
	}
	if some < 20 {
		t.Errorf("only %d of the functions have dependents", some)
	}
}
