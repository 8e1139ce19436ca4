// SPDX-License-Identifier: Apache-2.0

package ctext

// Kind is the kind of a preprocessing token (C11 6.4).
type Kind uint8

// Kinds of tokens.
const (
	Ident  Kind = iota + 1 // identifiers and keywords
	Number                 // pp-number
	String                 // with its prefix and quotes
	Char                   // with its prefix and quotes
	Punct                  // longest match; digraphs as they are spelled
	Other                  // what is none of these: a character such as \ or @, or a line from a quote that nothing closes
)

// Flags of a token.
type Flags uint8

// Flag bits. The higher ones are the expander's own.
const (
	SpaceBefore Flags = 1 << iota // white space or a comment precedes it
	LineStart                     // first token of its line in the document
	Placeholder                   // stands for a value that only GCC knows: __has_attribute, __DATE__ …
	lastFlag
)

// Name is an interned spelling; see Names.
type Name uint32

// Token is one preprocessing token.
type Token struct {
	Name Name // its spelling, spliced lines joined
	// Off is where it is spelled in the document: in the text of a declaration,
	// as an argument of a macro, or in the body of a #define. -1: nowhere, since
	// ## or # made it, or GCC's own macros did.
	Off int32
	// From and To are the range of the document that it was expanded from: the
	// outermost macro invocation, arguments included, or the token itself.
	From, To int32
	Kind     Kind
	Flags    Flags
}

// Expanded reports whether the token came out of a macro invocation.
func (t *Token) Expanded() bool { return t.Off != t.From }

// Names interns spellings. The zero value is not usable; see NewNames.
type Names struct {
	ids   map[string]Name
	texts []string
}

// firstName is the first name that is not a single ASCII character: those are
// their own code.
const firstName = 128

// NewNames returns an empty table. Name 0 is the empty spelling, the name of an
// ASCII character its code.
func NewNames() *Names {
	n := &Names{ids: make(map[string]Name, 1<<14), texts: make([]string, firstName, 1<<14)}
	for c := range firstName {
		text := string(rune(c))
		if c == 0 {
			text = ""
		}
		n.texts[c] = text
		n.ids[text] = Name(c)
	}
	return n
}

// Of interns a spelling.
func (n *Names) Of(text string) Name {
	if id, ok := n.ids[text]; ok {
		return id
	}
	return n.add(text)
}

// OfBytes is Of for a piece of a document; it allocates only for new spellings.
func (n *Names) OfBytes(text []byte) Name {
	if len(text) == 1 && text[0] < firstName && text[0] != 0 {
		return Name(text[0])
	}
	if id, ok := n.ids[string(text)]; ok {
		return id
	}
	return n.add(string(text))
}

func (n *Names) add(text string) Name {
	id := Name(len(n.texts))
	n.texts = append(n.texts, text)
	n.ids[text] = id
	return id
}

// Lookup is Of without interning; ok is false for a spelling never seen.
func (n *Names) Lookup(text string) (id Name, ok bool) {
	id, ok = n.ids[text]
	return id, ok
}

// Text is the spelling of a name.
func (n *Names) Text(id Name) string { return n.texts[id] }

// Len is the number of names, so that tables can be indexed by Name.
func (n *Names) Len() int { return len(n.texts) }
