// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"fmt"

	"kmend/internal/ctext"
)

// Error says what of a unit is not understood, and where.
type Error struct {
	Off int32  // in the document: where the token is spelled, or the invocation that made it
	Why string // with the token's spelling
}

func (e *Error) Error() string { return fmt.Sprintf("parse C at byte %d: %s", e.Off, e.Why) }

// Unit is the file-scope structure of one translation unit. It is not changed
// after Parse: many goroutines may ask it, as long as none adds to Names.
type Unit struct {
	Names  *ctext.Names
	Tokens []ctext.Token
	Items  []Item // in order; together they cover all tokens

	match []int32 // by token: its partner if it is a bracket
	class []class // by name
	file  [2]scopeTable
}

// ItemKind is the kind of an item.
type ItemKind uint8

// Kinds of items.
const (
	Declaration ItemKind = iota + 1
	Function             // the definition of a function
	Asm                  // a top-level asm
	Assert               // _Static_assert
	Empty                // a stray semicolon
)

// Item is one external declaration (C11 6.9) or what GCC allows in its place.
type Item struct {
	First, Last int   // tokens [First,Last)
	From, To    int32 // range of the document that the tokens came from
	// Chunk is the same number for items whose ranges overlap, since one macro
	// invocation made them (SYSCALL_DEFINE, DEFINE_MUTEX): they are one piece of
	// text. Chunks are counted from 0 in order.
	Chunk      int
	Kind       ItemKind
	Decls      []Decl // in the order of the text, except that an enclosing tag comes before what it holds
	Specifiers [2]int // tokens of the declaration specifiers, which all declarators share
	Body       int    // the '{' of a function's body, else -1
}

// DeclKind is what a declaration makes of its name.
type DeclKind uint8

// Kinds of declared names. Func needs a declarator with parameters, a typedef of
// a function type or typeof of a function's name; see Decl.Unsure.
const (
	Func DeclKind = iota + 1
	Var
	Typedef
	Struct
	Union
	Enum
	Enumerator
)

// Namespace is a name space of identifiers (C11 6.2.3). Members and labels are
// never at file scope.
type Namespace uint8

// Name spaces.
const (
	Ordinary Namespace = iota
	Tag
)

// Storage are the storage class and function specifiers of a declaration.
type Storage uint8

// Bits of Storage.
const (
	Static Storage = 1 << iota
	Extern
	TypedefBit
	Inline
	Register
	ThreadLocal
)

// Decl is one name that an item declares at file scope. Unnamed tags have none.
type Decl struct {
	Name    ctext.Name
	Tok     int // the token that names it
	Kind    DeclKind
	Space   Namespace
	Storage Storage
	// Def: a function with its body; a variable with an initialiser or without
	// extern; a tag with its members; an enumerator; a typedef.
	Def bool
	// Mention: a tag that is declared by its first use (`struct tag *p;`), which
	// is among the item's Refs as well.
	Mention bool
	// Unsure: a Var that is a function if the expression in its typeof is of
	// function type (DECLARE_STATIC_CALL of a member does that).
	Unsure bool
	// Declarator are the tokens of the declarator with asm label and attributes,
	// without the initialiser. For a tag: from struct, union or enum to the end
	// of the members and their attributes. For an enumerator: with its value.
	Declarator [2]int
	Init       int  // the '=' of a variable, or -1
	Incomplete bool // an array whose first bound is left out: []
	Const      bool // a variable that is const itself; false if only a typedef or typeof makes it so
}

// DeclRef is a declaration by its place: Items[Item].Decls[Decl].
type DeclRef struct{ Item, Decl int }

// Decl returns the declaration at a place.
func (u *Unit) Decl(r DeclRef) *Decl { return &u.Items[r.Item].Decls[r.Decl] }

// Lookup returns all file-scope declarations of a name, in order.
func (u *Unit) Lookup(space Namespace, name ctext.Name) []DeclRef {
	return u.file[space&1].all(name)
}

// ItemAt returns the item that holds a token, or -1.
func (u *Unit) ItemAt(tok int) int {
	lo, hi := 0, len(u.Items)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if u.Items[mid].Last <= tok {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if tok < 0 || lo == len(u.Items) {
		return -1
	}
	return lo
}

// Ref is one use of a file-scope name.
type Ref struct {
	Name   ctext.Name
	Space  Namespace
	Tok    int
	Call   bool // a use in an expression that '(' follows: f(…)
	InBody bool // in the body of the item's function
	Quoted bool // the name is a string, the argument of alias, weakref or ifunc
}

// Local is a declaration in the body of a function whose object outlives the
// call: static, or extern (function declarations too).
type Local struct {
	Name       ctext.Name
	Tok        int
	Storage    Storage
	Func       bool   // it declares a function
	Unsure     bool   // as in Decl
	Statement  [2]int // tokens of the whole declaration with its semicolon; other names may share it
	Specifiers [2]int
	Declarator [2]int // as in Decl
	Init       int    // the '=', or -1
	Const      bool   // as in Decl
	Incomplete bool   // as in Decl
}
