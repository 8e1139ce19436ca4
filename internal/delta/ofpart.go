// SPDX-License-Identifier: Apache-2.0

package delta

// OfPart is the result with an extraction of its After in place of After. The
// changes, which are some of r, become those of the part's functions; what the
// part does not define of them is returned as missing. Functions of the part for
// which kept is true are those that the whole had before; all others are new code. A data item of the part is the item before the fix that
// the whole's item is.
func (r *Result) OfPart(e *Extraction, changes []Change, kept func(*ExtractedFunc) bool) (out *Result, missing []Change) {
	out = &Result{Before: r.Before, After: e.Part, Removed: r.Removed, Ambiguous: map[*Item]string{}, toBefore: map[*Item]*Item{}}
	replaced := map[*Item]bool{}
	for _, ch := range changes {
		f := e.funcOf(ch.After)
		if f == nil {
			missing = append(missing, ch)
			continue
		}
		ch.After = f.Part
		replaced[f.Part] = true
		out.Changed = append(out.Changed, ch)
		out.toBefore[f.Part] = ch.Before
		if f.Part.Cold != nil && ch.Before.Cold != nil {
			out.toBefore[f.Part.Cold] = ch.Before.Cold
		}
	}
	for _, a := range e.Part.Items {
		if a.Kind.IsCode() {
			if a.Kind == Func && a.Parent == nil && !replaced[a] && !out.keeps(r, e, a, kept) {
				out.New = append(out.New, a)
			}
			continue
		}
		w := e.WholeOf(a)
		if b := r.toBefore[w]; w != nil && b != nil {
			out.toBefore[a] = b
		} else if (a.Kind == State || a.Kind == Rodata) && e.Ambiguous(a) == "" {
			out.NewData = append(out.NewData, a)
		}
		if why := e.Ambiguous(a); why != "" {
			out.Ambiguous[a] = why
		} else if why := r.Ambiguous[w]; w != nil && why != "" {
			out.Ambiguous[a] = why
		}
	}
	return out, missing
}

// keeps notes a function of the part that is the one the whole had before.
func (r *Result) keeps(whole *Result, e *Extraction, a *Item, kept func(*ExtractedFunc) bool) bool {
	f := e.Func(a.Name)
	if f == nil || whole.toBefore[f.Whole] == nil || !kept(f) {
		return false
	}
	r.toBefore[a] = whole.toBefore[f.Whole]
	return true
}

// funcOf is the comparison of a function of the whole, or nil.
func (e *Extraction) funcOf(whole *Item) *ExtractedFunc {
	for i := range e.Funcs {
		if e.Funcs[i].Whole == whole {
			return &e.Funcs[i]
		}
	}
	return nil
}
