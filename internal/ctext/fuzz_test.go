// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"errors"
	"slices"
	"testing"
)

func FuzzLex(f *testing.F) {
	for _, text := range expansions {
		f.Add([]byte(text))
	}
	f.Add([]byte("\\"))
	f.Add([]byte("\"\\\\\n\"\n'\\\n\n/\\\n*"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lx := Lexer{Text: text, End: len(text), Names: NewNames()}
		last := int32(0)
		for {
			k, ok, err := lx.Next()
			var se *SyntaxError
			if err != nil {
				if !errors.As(err, &se) || se.Off < last || int(se.Off) >= len(text) {
					t.Fatalf("%v after %d", err, last)
				}
				return
			}
			if lx.Pos > len(text) {
				t.Fatalf("at %d of %d", lx.Pos, len(text))
			}
			if !ok {
				return
			}
			if k.Off != k.From || k.From < last || k.To <= k.From || int(k.To) != lx.Pos || k.Kind < Ident || k.Kind > Other {
				t.Fatalf("%+v after %d", k, last)
			}
			if got := string(unsplice(text[k.From:k.To])); got != lx.Names.Text(k.Name) {
				t.Fatalf("%q is named %q", got, lx.Names.Text(k.Name))
			}
			last = k.To
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, text := range expansions {
		f.Add([]byte("# 1 \"a.c\"\n" + text + "\n"))
	}
	f.Add([]byte("# 1 \"a.c\"\n# 0 \"<command-line>\"\n# 1 \"x.h\" 1\n#define f(x) x\n# 2 \"<command-line>\" 2\n# 1 \"a.c\"\nf(1)\n# 1 \"y.h\" 1 3 4\nf\n# 3 \"a.c\" 2\n(2)\n"))
	f.Add([]byte("# 1 \"a.c\"\n#define S(x...) #x\nS(\\) __has_attribute(a) _Pragma(\"x\") __DATE__ __FILE_NAME__\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Read(text)
		if err != nil {
			return
		}
		end := int32(len(text))
		for _, in := range d.Includes {
			if in.From < 0 || in.From > in.To || in.To > end || in.File >= len(d.Files) || in.Parent >= len(d.Includes) {
				t.Fatalf("%+v", in)
			}
		}
		for i, m := range d.Defines {
			if m.From >= m.To || m.To > end || m.Undef >= 0 && m.Undef < m.To {
				t.Fatalf("%+v", m)
			}
			if m.Undef < 0 && d.MacroAt(m.Name, end) != m {
				t.Fatalf("define %d is not found", i)
			}
			if i < 20 {
				d.DefineText(m, text)
			}
		}
		for off := int32(0); off < end; off += end/16 + 1 {
			if file, line := d.Position(off); file < 0 || file >= len(d.Files) || line < 0 && line > -1<<31 {
				t.Fatalf("position of %d: file %d line %d", off, file, line)
			}
			if i := d.IncludeAt(off); d.Includes[i].From > off || d.Includes[i].To <= off {
				t.Fatalf("%d is not in %+v", off, d.Includes[i])
			}
		}
		if _, err := d.Lex(0, end); err != nil {
			return
		}
		small := limits{tokens: 1 << 12, work: 1 << 14, nested: 50}
		x, err := d.expand(small)
		if err != nil {
			return
		}
		check(t, x)
		again, err := d.expand(small)
		if err != nil || !slices.Equal(again.Tokens, x.Tokens) || !slices.Equal(again.Uses, x.Uses) || !slices.Equal(again.Pragmas, x.Pragmas) {
			t.Fatalf("the second expansion differs: %v", err)
		}
	})
}
