// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"strings"
	"testing"

	"kmend/internal/ctext"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

// TestExpandedUnit: of the tokens that ctext expands, the items are those of
// what GCC expands, and what one macro invocation made is one chunk whose range
// is its text.
func TestExpandedUnit(t *testing.T) {
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := tree.Commands(t.Context(), []string{"kernel/sys.c"})
	if err != nil {
		t.Fatal(err)
	}
	preprocess := func(flags ...string) []byte {
		text, err := tree.Preprocess(t.Context(), kbuild.Job{Command: commands[0]}, flags...)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	doc, err := ctext.Read(preprocess("-fdirectives-only"))
	if err != nil {
		t.Fatal(err)
	}
	x, err := doc.Expand()
	if err != nil {
		t.Fatal(err)
	}
	u, err := Parse(doc.Names, x.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	if err := invariants(u); err != nil {
		t.Fatal(err)
	}
	names, tokens := lex(t, preprocess())
	gcc, err := Parse(names, tokens)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Items) != len(gcc.Items) {
		t.Fatalf("%d items, %d of GCC's expansion", len(u.Items), len(gcc.Items))
	}
	for i, it := range u.Items {
		if other := gcc.Items[i]; it.First != other.First || it.Last != other.Last || it.Kind != other.Kind || len(it.Decls) != len(other.Decls) {
			t.Fatalf("item %d is %+v, of GCC's expansion %+v", i, it, other)
		}
		mine, err := u.Refs(i)
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := gcc.Refs(i); err != nil || len(mine) != len(theirs) {
			t.Errorf("item %d has %d uses, of GCC's expansion %d, %v", i, len(mine), len(theirs), err)
		}
	}
	checkSystemCall(t, u, doc)
}

// checkSystemCall looks at SYSCALL_DEFINE2(gethostname, …) in kernel/sys.c.
func checkSystemCall(t *testing.T, u *Unit, doc *ctext.Document) {
	chunk := -1
	for _, text := range []string{"__do_sys_gethostname", "__se_sys_gethostname", "__x64_sys_gethostname", "__ia32_sys_gethostname"} {
		name, ok := doc.Names.Lookup(text)
		refs := u.Lookup(Ordinary, name)
		if !ok || len(refs) < 2 {
			t.Errorf("%s is declared %d times", text, len(refs))
			continue
		}
		it := u.Items[refs[len(refs)-1].Item]
		if chunk < 0 {
			chunk = it.Chunk
		}
		if it.Kind != Function || it.Chunk != chunk {
			t.Errorf("%s: %+v, want a function of chunk %d", text, it, chunk)
		}
	}
	from, to := int32(len(doc.Text)), int32(0)
	for _, it := range u.Items {
		if it.Chunk == chunk {
			from, to = min(from, it.From), max(to, it.To)
		}
	}
	if from >= to {
		t.Fatal("the chunk has no text")
	}
	text := string(doc.Text[from:to])
	if !strings.HasPrefix(text, "SYSCALL_DEFINE2(gethostname,") || !strings.HasSuffix(text, "}") || strings.Count(text, "SYSCALL_DEFINE") != 1 {
		t.Errorf("the text of the chunk is\n%s", text)
	}
}
