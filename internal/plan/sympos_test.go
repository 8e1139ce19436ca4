// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// Both security/keys and security/selinux have a user_read and a user_destroy:
// global ones there, static ones here. Kernel and kmend count all of them.
func TestSympos(t *testing.T) {
	k := kerneltest.Open(t)
	const keys, selinux = "security/keys/user_defined.c", "security/selinux/ss/policydb.c"
	b := makePlan(t, k, kerneltest.Diff(t, k,
		sub(keys, "\tret = upayload->datalen;\n\n\t/* we can return", "\tret = upayload->datalen;\n\tif (ret > 5)\n\t\tret = 5;\n\n\t/* we can return"),
		sub(keys, "\tkfree_sensitive(upayload);\n}\n\nEXPORT_SYMBOL_GPL(user_destroy);", "\tif (upayload)\n\t\tkfree_sensitive(upayload);\n}\n\nEXPORT_SYMBOL_GPL(user_destroy);"),
		sub(selinux, "static int user_read(struct policydb *p, struct symtab *s, void *fp)\n{", "static int user_read(struct policydb *p, struct symtab *s, void *fp)\n{\n\tif (!fp)\n\t\treturn -EINVAL;"),
		sub(selinux, "static int user_destroy(void *key, void *datum, void *p)\n{", "static int user_destroy(void *key, void *datum, void *p)\n{\n\tif (!key && !datum)\n\t\treturn 1;"),
	))
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	table := kerneltest.Image(t, k).Symbols()
	for _, name := range []string{"user_read", "user_destroy"} {
		for file, kind := range map[string]byte{keys: 'T', selinux: 't'} {
			var want kernel.Symbol
			for i, s := range table.Lookup(name) {
				if s.Type == kind {
					want = s
					want.Index = i + 1 // as klp_find_object_symbol counts
				}
			}
			f := function(t, b.Plan, file, name)
			if f.Sympos != want.Index || f.RunPre.Address != fmt.Sprintf("%#x", want.Addr) {
				t.Errorf("%s of %s: position %d at %s, want %d at %#x", name, file, f.Sympos, f.RunPre.Address, want.Index, want.Addr)
			}
		}
	}

	// A reference to one that is not replaced.
	b = makePlan(t, k, kerneltest.Diff(t, k, sub(selinux, "static int user_read(struct policydb *p, struct symtab *s, void *fp)\n{",
		"static int user_read(struct policydb *p, struct symtab *s, void *fp)\n{\n\tif (READ_ONCE(s->nprim) == 77)\n\t\treturn hashtab_map(&s->table, user_destroy, NULL);")))
	var static int
	for i, s := range table.Lookup("user_destroy") {
		if s.Type == 't' {
			static = i + 1
		}
	}
	if len(b.Pieces) != 1 || static == 0 {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	var refs []plan.Reference
	for _, f := range b.Pieces[0].Refs {
		if f.Name == "user_destroy" {
			refs = append(refs, f.Reference)
		}
	}
	if len(refs) != 1 || refs[0].How != plan.ByKlp || refs[0].Object != plan.Vmlinux || refs[0].Sympos != static || refs[0].Proof == "" {
		t.Errorf("references to user_destroy: %+v, want position %d", refs, static)
	}
}

// function finds a replaced function of a file, or fails.
func function(t *testing.T, p *plan.Plan, file, name string) plan.Function {
	t.Helper()
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			if f.Unit == file && f.Name == name {
				return f
			}
		}
	}
	t.Fatalf("%s of %s is not replaced", name, file)
	return plan.Function{}
}

// Functions that nobody edited are replaced when GCC copied an edited one into
// them, and the plan says so.
func TestReasons(t *testing.T) {
	k := kerneltest.Open(t)
	b := makePlan(t, k, kerneltest.Diff(t, k, sub("fs/filesystems.c", "!(*p)->name[len])", "!(*p)->name[len] && len)")))
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	var got []string
	for _, f := range b.Plan.Objects[0].Functions {
		got = append(got, f.Name+" "+f.Reason.Kind+" "+strings.Join(f.Reason.Via, ">"))
		if f.RunPre.Verdict != "equal" || f.Difference == "" || f.OldSize == 0 || f.NewSize == 0 {
			t.Errorf("%+v", f)
		}
	}
	want := []string{"__get_fs_type inlines find_filesystem>__get_fs_type", "register_filesystem inlines find_filesystem>register_filesystem"}
	if !slices.Equal(got, want) {
		t.Errorf("replaced %q, want %q", got, want)
	}
}
