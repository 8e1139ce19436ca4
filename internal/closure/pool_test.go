// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"testing"

	"kmend/internal/delta"
	"kmend/internal/object"
)

// A loop over a string compares with its end, which GCC writes as the string's
// symbol and an offset. What lies there in the pool is something else.
func TestCutEndOfString(t *testing.T) {
	before := `int f(int x) { return ext(x); }`
	after := `int f(int x) { const char *p = "kernel"; do { ext(*p++); asm volatile("" ::: "memory"); } while (p != (const char *)"kernel" + 6);
		printk("other"); return ext(x); }`
	c := Select(delta.Compare(compile(t, before), compile(t, after)))
	p, err := c.Cut(nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.File.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	pool, text := f.Section(".rodata.str1.1"), f.Section(".text.f")
	if pool == nil || string(pool.Data) != "kernel\x00other\x00" {
		t.Fatalf("the pool is %q", pool.Data)
	}
	at := map[int64]int{}
	for _, r := range text.Relocs {
		if r.Sym.Section == pool {
			at[int64(r.Sym.Value)+r.Addend]++
		}
	}
	if len(at) != 3 || at[0] != 1 || at[6] != 1 || at[7] != 1 {
		t.Errorf("references lead to %v of the pool, want one each to 0, 6 and 7", at)
	}
}
