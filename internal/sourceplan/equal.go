// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"slices"
	"strings"

	"kmend/internal/csyntax"
	"kmend/internal/extract"
)

// unequal holds the functions of an extracted file, those of its headers among
// them, and the variables that it initialises against the unit's, token by token
// after macro expansion, and names the first that differs. What may differ: the
// new name, linkage (static), and the numbers that GCC's __COUNTER__ gives. Headers
// count, since an #include that was left out may have made another one read
// differently.
func unequal(part, unit *text, renamed map[string]string) string {
	for i := range part.unit.Items {
		it := &part.unit.Items[i]
		if it.Kind != csyntax.Function {
			if name := initialised(part, it); name != "" && !sameValue(part, unit, it, name) {
				return name
			}
			continue
		}
		name := functionName(part.unit, it)
		orig := name
		if n, ok := renamed[name]; ok {
			orig = n
		}
		def := definition(unit, orig)
		if def == nil || !slices.Equal(words(part.unit, it, renamed), words(unit.unit, def, nil)) {
			return orig
		}
	}
	return ""
}

// initialised is the first variable that an item of the file itself defines
// with a value; "" if it defines none.
func initialised(t *text, it *csyntax.Item) string {
	for i := range it.Decls {
		if d := &it.Decls[i]; d.Kind == csyntax.Var && d.Init >= 0 && mainText(t, it) {
			return t.unit.Names.Text(d.Name)
		}
	}
	return ""
}

// sameValue compares the initialiser of a variable that each of two texts
// defines, and what follows it in the definition: further variables.
func sameValue(part, unit *text, it *csyntax.Item, name string) bool {
	value := func(t *text, it *csyntax.Item) []string {
		for i := range it.Decls {
			if d := &it.Decls[i]; d.Init >= 0 && t.unit.Names.Text(d.Name) == name {
				var out []string
				for k := d.Init; k < it.Last; k++ {
					out = append(out, counterless(fileless(t.unit.Names.Text(t.unit.Tokens[k].Name))))
				}
				return out
			}
		}
		return nil
	}
	id, ok := unit.unit.Names.Lookup(name)
	if !ok {
		return false
	}
	for _, r := range unit.unit.Lookup(csyntax.Ordinary, id) {
		if was := value(unit, &unit.unit.Items[r.Item]); was != nil {
			return slices.Equal(was, value(part, it))
		}
	}
	return false
}

// mainText reports whether an item stands in the file itself.
func mainText(t *text, it *csyntax.Item) bool {
	doc := t.expanded.Doc
	i := doc.IncludeAt(it.From)
	return i >= 0 && doc.Includes[i].Parent < 0 && !doc.Includes[i].Forced
}

func functionName(u *csyntax.Unit, it *csyntax.Item) string {
	for i := range it.Decls {
		if it.Decls[i].Kind == csyntax.Func {
			return u.Names.Text(it.Decls[i].Name)
		}
	}
	return ""
}

// isStatic reports whether a function is the unit's own.
func isStatic(u *csyntax.Unit, it *csyntax.Item) bool {
	for i := range it.Decls {
		if it.Decls[i].Kind == csyntax.Func {
			return it.Decls[i].Storage&csyntax.Static != 0
		}
	}
	return false
}

// definition finds the function of a name.
func definition(t *text, name string) *csyntax.Item {
	id, ok := t.unit.Names.Lookup(name)
	if !ok {
		return nil
	}
	for _, r := range t.unit.Lookup(csyntax.Ordinary, id) {
		if it := &t.unit.Items[r.Item]; it.Kind == csyntax.Function && it.Decls[r.Decl].Def {
			return it
		}
	}
	return nil
}

// words are the tokens of a definition without linkage.
func words(u *csyntax.Unit, it *csyntax.Item, renamed map[string]string) []string {
	var out []string
	for i := it.First; i < it.Last; i++ {
		w := u.Names.Text(u.Tokens[i].Name)
		if i < it.Body && (w == "static" || w == "extern") {
			continue
		}
		if n, ok := renamed[w]; ok && strings.HasPrefix(w, extract.Prefix) {
			w = n
		}
		out = append(out, counterless(fileless(w)))
	}
	return out
}

// fileless makes __FILE__ what it is in a compile: the preprocessed text of a
// file with #line names it relative to the build directory (kbuild.Preprocess).
func fileless(w string) string {
	if rest, ok := strings.CutPrefix(w, `"./`); ok {
		return `"` + rest
	}
	return w
}

// counterless takes the number of __COUNTER__ out of a name that
// __UNIQUE_ID made (include/linux/compiler-gcc.h) or that starts with
// __compiletime_assert_ (include/linux/compiler_types.h).
func counterless(w string) string {
	for _, p := range []string{"__UNIQUE_ID_", "__compiletime_assert_", "__addressable_"} {
		if strings.HasPrefix(w, p) {
			return strings.TrimRight(w, "0123456789")
		}
	}
	return w
}
