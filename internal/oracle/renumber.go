// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/object"
)

// cloneNumber matches the numbers that GCC gives to clones, one counter for
// each name (gcc/cgraphclones.cc: clone_function_name_numbered).
var cloneNumber = regexp.MustCompile(`\.(constprop|isra|part)\.\d+`)

// renumber gives the clones of an object the numbers that they have in another
// one of the same source. A clone that is not made leaves its number to the
// next one; by name, that one would then be compared with another clone. Those
// with equal code are paired first, then one that is left with one that is left.
func renumber(like, f *object.File) {
	was, is := cloneGroups(like), cloneGroups(f)
	for stem, after := range is {
		before := was[stem]
		if slices.EqualFunc(before, after, func(a, b *object.Symbol) bool { return a.Name == b.Name }) {
			continue
		}
		names := map[*object.Symbol]string{}
		rest, fresh := pairClones(names, before, after, func(a, b *object.Symbol) bool { return content(a) == content(b) })
		if len(rest) == 1 && len(fresh) == 1 {
			names[fresh[0]], fresh = rest[0].Name, nil
		}
		for i, s := range fresh { // no clone of before: a name that nothing has
			names[s] = fmt.Sprintf("%s.new.%d", s.Name, i)
		}
		cold := map[string]string{}
		for s, n := range names {
			cold[s.Name+".cold"] = n + ".cold"
		}
		for s, n := range names {
			s.Name = n
		}
		for _, s := range f.Symbols {
			if n, ok := cold[s.Name]; ok {
				s.Name = n
			}
		}
	}
}

// cloneGroups are the clones of an object by name without numbers, in the order
// of their names.
func cloneGroups(f *object.File) map[string][]*object.Symbol {
	out := map[string][]*object.Symbol{}
	for _, s := range f.Symbols {
		if s.IsFunc() && s.Section != nil && !strings.HasSuffix(s.Name, ".cold") && cloneNumber.MatchString(s.Name) {
			stem := cloneNumber.ReplaceAllString(s.Name, ".$1")
			out[stem] = append(out[stem], s)
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *object.Symbol) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}

// pairClones notes the names of pairs and returns what is left.
func pairClones(names map[*object.Symbol]string, before, after []*object.Symbol, match func(a, b *object.Symbol) bool) (restB, restA []*object.Symbol) {
	restB = slices.Clone(before)
	for _, a := range after {
		i := slices.IndexFunc(restB, func(b *object.Symbol) bool { return match(b, a) })
		if i < 0 {
			restA = append(restA, a)
			continue
		}
		names[a] = restB[i].Name
		restB = slices.Delete(restB, i, i+1)
	}
	return restB, restA
}

// content is what tells the code of clones apart: bytes, and what they refer to.
func content(s *object.Symbol) string {
	var b strings.Builder
	sec := s.Section
	end := s.Value + s.Size
	if end > uint64(len(sec.Data)) {
		return s.Name
	}
	fmt.Fprintf(&b, "%x", sec.Data[s.Value:end])
	for _, r := range sec.Relocs {
		if r.Offset < s.Value || r.Offset >= end || r.Sym == nil {
			continue
		}
		name := r.Sym.Name
		if r.Sym.IsSection() && r.Sym.Section != nil {
			name = r.Sym.Section.Name
		}
		fmt.Fprintf(&b, " %d:%d:%s%+d", r.Offset-s.Value, r.Type, cloneNumber.ReplaceAllString(name, ".$1"), r.Addend)
	}
	return b.String()
}
