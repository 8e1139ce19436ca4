// SPDX-License-Identifier: Apache-2.0

package ctext

import "fmt"

// body is a replacement list with its parameters found and # and ## turned into
// flags.
type body struct {
	toks  []Token
	vaOpt bool // it contains __VA_OPT__
}

// placemarker is the index of a parameter that is always empty.
const placemarker = 1 << 30

// compile reads a macro's body as create_iso_definition of libcpp/macro.cc does.
func (e *expander) compile(m *Macro) (*body, error) {
	names := e.d.Names
	hash, paste := Name('#'), names.Of("##")
	params := map[Name]int32{}
	for i, p := range m.Params {
		params[p] = int32(i)
	}
	b := &body{toks: make([]Token, 0, len(m.Body))}
	refuse := func(t Token, why string) (*body, error) {
		return nil, &SyntaxError{Off: t.Off, Why: fmt.Sprintf("macro %s: %s", names.Text(m.Name), why)}
	}
	for i := 0; i < len(m.Body); i++ {
		t := m.Body[i]
		t.From, t.To = 0, 0
		switch {
		case t.Kind == Punct && t.Name == paste:
			n := len(b.toks)
			if n == 0 || i+1 == len(m.Body) {
				return refuse(t, "## at an end of the replacement")
			}
			b.toks[n-1].Flags |= pasteLeft
			continue
		case t.Kind == Punct && t.Name == hash && m.FuncLike:
			if i+1 == len(m.Body) {
				return refuse(t, "# without a parameter behind it")
			}
			index, ok := params[m.Body[i+1].Name]
			if !ok || m.Body[i+1].Kind != Ident {
				return refuse(t, "# is not followed by a parameter")
			}
			i++
			t = Token{Name: m.Body[i].Name, Off: t.Off, Kind: param, From: index, Flags: t.Flags&SpaceBefore | stringified}
		case t.Kind == Ident:
			if index, ok := params[t.Name]; ok {
				t.Kind, t.From = param, index
			} else if m.Variadic && names.Text(t.Name) == "__VA_OPT__" {
				b.vaOpt = true
			}
		}
		b.toks = append(b.toks, t)
	}
	return b, nil
}

// chooseOpt returns the body with the contents of each __VA_OPT__ if there are
// variable arguments, and with a placemarker if there are none.
func (e *expander) chooseOpt(m *Macro, toks []Token, args []arg) ([]Token, error) {
	rest := &args[len(args)-1]
	if err := e.expand(rest); err != nil {
		return nil, err
	}
	have := false
	for _, t := range rest.expanded {
		have = have || t.Kind != padding
	}
	var out []Token
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		if t.Kind != Ident || e.d.Names.Text(t.Name) != "__VA_OPT__" {
			out = append(out, t)
			continue
		}
		end := closing(toks, i+1)
		if end < 0 {
			return nil, e.failed("macro %s: __VA_OPT__ without its parentheses", m)
		}
		content := toks[i+2 : end]
		last := toks[end].Flags & pasteLeft
		if !have || len(content) == 0 {
			out = append(out, Token{Kind: param, From: placemarker, Flags: t.Flags&SpaceBefore | last})
		} else {
			n := len(out)
			out = append(out, content...)
			out[n].Flags = out[n].Flags&^SpaceBefore | t.Flags&SpaceBefore
			out[len(out)-1].Flags |= last
		}
		i = end
	}
	return out, nil
}

// closing finds the parenthesis that closes the one at i.
func closing(toks []Token, i int) int {
	if i >= len(toks) || toks[i].Kind != Punct || toks[i].Name != '(' {
		return -1
	}
	depth := 0
	for ; i < len(toks); i++ {
		if toks[i].Kind != Punct {
			continue
		}
		switch toks[i].Name {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
