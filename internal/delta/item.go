// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"kmend/internal/object"
	"kmend/internal/special"
)

// Kind says what an item is and so which rule holds for it.
type Kind uint8

const (
	// Func is code of one function, or the cold part of one.
	Func Kind = iota
	// Const is nameless or function-local read-only data without references:
	// strings, literal pools, __func__, switch tables. It is known by its
	// content and may be copied.
	Const
	// Rodata is read-only data with an identity: a named table, or one that
	// holds addresses.
	Rodata
	// State is writable data.
	State
	// OnceFlag is the flag of a WARN_ONCE or pr_once (.data.once).
	OnceFlag
	// DebugSite is a dynamic debug descriptor (__dyndbg).
	DebugSite
	// PerCPU is a per-CPU variable.
	PerCPU
	// InitCode and InitData are dropped once the kernel or module has started.
	InitCode
	InitData
	// ExitCode is dropped from the kernel image; in a module it runs at unload.
	ExitCode
	// Export is an entry of the exported symbols.
	Export
	// AltAux is the out-of-line part of a static_cpu_has test (.altinstr_aux,
	// asm/cpufeature.h). It belongs to the function that jumps to it, is known
	// by its content, and is never run once alternatives are in place.
	AltAux
	// Registration is any other data found by its section, such as module
	// parameters, trace events, system call metadata.
	Registration
)

var kindNames = [...]string{"function", "constant", "read-only data", "state", "once flag", "dynamic debug site",
	"per-CPU variable", "init code", "init data", "exit code", "export", "alternative code", "registration data"}

// String is the kind in words.
func (k Kind) String() string { return kindNames[k] }

// IsCode reports whether items of the kind hold instructions.
func (k Kind) IsCode() bool { return k == Func || k == InitCode || k == ExitCode || k == AltAux }

// byContent reports whether items of the kind have no identity of their own:
// equal content is all that makes two of them the same.
func (k Kind) byContent() bool { return k == Const || k == AltAux }

// Item is one function or data object of a unit.
type Item struct {
	Name      string // assembler name; SECTION+0xOFF for bytes no symbol names
	Kind      Kind
	Section   *object.Section
	Start     uint64 // offset in Section
	Size      uint64
	Symbols   []*object.Symbol // every symbol at Start, the one that gives Name first
	Labels    []*object.Symbol // symbols further inside
	Parent    *Item            // for foo.cold: foo
	Cold      *Item            // for foo: foo.cold, or nil
	Refs      []Ref            // by offset
	Entries   []special.Entry  // special section entries that this item's code owns, ORC left out
	EntryRefs [][]Ref          // per entry, the references apart from the owner
	Orc       []special.Entry
	Users     []*Item // items with a reference here, each once
}

// sourceName is the name the programmer knows: init_module and cleanup_module
// are aliases that linux/module.h makes.
func (i *Item) sourceName() string {
	for _, s := range i.Symbols {
		if s.Name != "init_module" && s.Name != "cleanup_module" {
			return s.Name
		}
	}
	return i.Name
}

// IsGlobal reports whether other translation units can refer to the item.
func (i *Item) IsGlobal() bool {
	for _, s := range i.Symbols {
		if !s.IsLocal() {
			return true
		}
	}
	return false
}

// Data returns the item's bytes; nil for uninitialised data.
func (i *Item) Data() []byte {
	if i.Section.Data == nil {
		return nil
	}
	return i.Section.Data[i.Start : i.Start+i.Size]
}

// Ref is one reference of an item: a relocation, or a branch that the
// assembler resolved within a section.
type Ref struct {
	Offset uint64 // of the field, from the item's start
	Type   uint32 // R_X86_64_*
	Branch bool   // the field is the displacement of a direct call or jump
	Target Target
	Add    int64        // from the target's start
	Tail   int64        // bytes from the field to the end of its instruction (PC-relative code), else 0
	Short  bool         // made from a rel8 branch: nothing can be written there
	Flags  int64        // low bits of a static call or jump label key
	Inner  bool         // lies within a special entry, not the item's own bytes
	Reloc  object.Reloc // as read; zero Sym for a branch the assembler resolved
}

// Target is what a reference leads to; exactly one field is set.
type Target struct {
	Item    *Item
	Extern  string // undefined symbol
	Content *Content
}

// Content is a piece of a string or literal pool, known by its bytes.
type Content struct {
	Bytes   string // with the NUL for strings
	Strings bool
	Align   uint64
}

// Addend is the RELA addend that makes a relocation at the field give the
// target plus Add.
func (r *Ref) Addend() int64 { return r.Add - r.Tail + r.Flags }

// Unit is an object cut into items.
type Unit struct {
	File      *object.File
	Items     []*Item           // by section, then offset
	Exports   map[string]string // exported names, and to whom
	bySection map[*object.Section][]*Item
	bySymbol  map[*object.Symbol]*Item
	byName    map[string]*Item
}

// Item returns the item of that assembler name, or nil.
func (u *Unit) Item(name string) *Item { return u.byName[name] }

// Of returns the item a symbol names, or nil.
func (u *Unit) Of(s *object.Symbol) *Item { return u.bySymbol[s] }
