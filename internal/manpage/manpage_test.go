// SPDX-License-Identifier: Apache-2.0

package manpage

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kmend/internal/kerneltest"
)

const help = `first paragraph of
two lines.

What it knows:
  --dumps DIR    a build with
                 dumps
  -k KERNEL      a kernel

Run:
	kmend completion bash


  -level=LEVEL
        none  no inlining
        all   everything
      Each level becomes flags.

  no list
  at all
last.`

func TestParse(t *testing.T) {
	want := []Block{
		{Text: "first paragraph of two lines."},
		{Text: "What it knows:"},
		{Terms: []Term{{Name: "--dumps DIR", Text: "a build with dumps"}, {Name: "-k KERNEL", Text: "a kernel"}}},
		{Text: "Run:"},
		{Lines: []string{"kmend completion bash"}},
		{Terms: []Term{{Name: "-level=LEVEL", Blocks: []Block{
			{Terms: []Term{{Name: "none", Text: "no inlining"}, {Name: "all", Text: "everything"}}},
			{Text: "Each level becomes flags."},
		}}}},
		{Lines: []string{"no list", "at all"}},
		{Text: "last."},
	}
	if diff := cmp.Diff(want, Parse(help)); diff != "" {
		t.Error(diff)
	}
}

// nasty is text that roff would take for its own.
const nasty = `.SH no 'heading' \fB not "bold" -- ^ ~ ` + "`x`"

func page() *Page {
	return &Page{Name: "kmend-x", Date: "2026-01-02", Source: "kmend 0", Manual: "kmend's manual", Sections: []Section{
		{"NAME", []Block{{Text: "kmend-x - do x"}}},
		{"DESCRIPTION", append(Parse(help), Block{Text: nasty}, Block{Lines: []string{nasty, "", "'x"}}, Block{Terms: []Term{{Name: "-x " + Mark + "FILE" + Mark, Text: nasty}}})},
	}}
}

func TestNothingIsTakenForARequest(t *testing.T) {
	cmd := exec.Command("mandoc", "-Tutf8", "-O", "width=78")
	if cmd.Err != nil {
		kerneltest.Missing(t, "no mandoc: run scripts/setup")
	}
	cmd.Stdin = bytes.NewReader(page().Bytes())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder // without overstrikes
	for i := 0; i < len(out); i++ {
		if i+1 < len(out) && out[i+1] == '\b' {
			i += 1
			continue
		}
		text.WriteByte(out[i])
	}
	if n := strings.Count(strings.Join(strings.Fields(text.String()), " "), strings.Join(strings.Fields(nasty), " ")); n != 3 {
		t.Errorf("%d of 3 texts came through:\n%s", n, text.String())
	}
}

func TestLint(t *testing.T) {
	cmd := exec.Command("mandoc", "-Tlint", "-Wstyle")
	if cmd.Err != nil {
		kerneltest.Missing(t, "no mandoc: run scripts/setup")
	}
	cmd.Stdin = bytes.NewReader(page().Bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
