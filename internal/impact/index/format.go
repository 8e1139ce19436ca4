// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
)

// The format is written down in docs/index-format.md; raise formatVersion when
// the meaning of a byte changes.
const (
	magic         = "kmendidx"
	formatVersion = 1
	headerSize    = 512
	sectionEntry  = 32
	sectionTable  = 96 // where the section table begins in the header
	headerSum     = headerSize - 4
	maxString     = 4096 // as long as a path can be; symbols have at most 512 (KSYM_NAME_LEN)
)

// Sections, in the order of the file.
const (
	secStrings   = iota // bytes; every string has a NUL behind it; offset 0 is ""
	secUnits            // unit records, by path
	secNodes            // node records, those of a unit together
	secOuts             // u32: first edge of each node, and the number of edges
	secEdges            // u32: kind<<28 | node
	secSyms             // symbol records, those of a unit together
	secNames            // name records: string, first entry in secNameNodes
	secNameNodes        // u32: nodes by name
	secSlots            // u32: hash table of the names
	numSections
)

var sectionNames = [numSections]string{"strings", "units", "nodes", "first edges", "edges", "symbols", "names", "nodes by name", "hash table"}

// Bytes of one entry.
var entrySizes = [numSections]uint64{1, unitSize, nodeSize, 4, 4, symbolSize, 8, 4, 4}

const (
	unitSize   = 64
	nodeSize   = 24
	symbolSize = 48
)

// UnitFlags say what is wrong with the account of a unit.
type UnitFlags uint32

const (
	// NoObject: there is a dump and no object beside it.
	NoObject UnitFlags = 1 << iota
	// NoDump: there is an object that was compiled from C and no dump beside it.
	NoDump
	// DumpOlder: the object was made well after the dump: by a compile that wrote none.
	DumpOlder
	// DumpNewer: the dump was made after the object: by a compile that failed.
	DumpNewer
	// Mismatch: the object has a clone that the dump does not tell of.
	Mismatch
)

// Stale reports whether what the index says of the unit cannot be relied on.
func (f UnitFlags) Stale() bool { return f != 0 }

// String is the trouble as a clause.
func (f UnitFlags) String() string {
	switch {
	case f&NoObject != 0:
		return "the dump has no object beside it"
	case f&NoDump != 0:
		return "the object has no dump beside it"
	case f&Mismatch != 0:
		return "the object has a clone that the dump does not tell of: they are of different compiles"
	case f&DumpOlder != 0:
		return "the object is newer than the dump"
	case f&DumpNewer != 0:
		return "the dump is newer than the object"
	}
	return ""
}

// SymbolFlags describe a function symbol of an object.
type SymbolFlags uint32

const (
	flagFentry SymbolFlags = 1 << iota
	flagInit
	flagGlobal
	flagClone
	flagInDump
	flagWeak
)

// Fentry: it begins with a call of __fentry__, or the no-op in its place.
func (f SymbolFlags) Fentry() bool { return f&flagFentry != 0 }

// WithFentry is the flags with Fentry as another source has it.
func (f SymbolFlags) WithFentry(has bool) SymbolFlags {
	if has {
		return f | flagFentry
	}
	return f &^ flagFentry
}

// Init: it is freed after the start.
func (f SymbolFlags) Init() bool { return f&flagInit != 0 }

// Global: other objects can refer to it.
func (f SymbolFlags) Global() bool { return f&flagGlobal != 0 }

// Clone: GCC made it from another function.
func (f SymbolFlags) Clone() bool { return f&flagClone != 0 }

// Why a position is not known, as it is stored.
const (
	sympKnown     = iota
	sympNoImage   // no vmlinux, or no .ko, beside the objects
	sympUnknown   // the index does not know which object the unit is linked into
	sympAbsent    // the image does not have the symbol
	sympAlike     // units of one name have the same symbols: cannot tell which is which
	sympUnstable  // a module's symbol whose position changes when its init part is dropped
	sympNoSymbols // the image's own symbol table cannot be read
	sympSeveral   // several symbols have the name, and nothing tells which it is; never in a file
)

var sympWhy = [...]string{
	sympNoImage:   "the build has no linked vmlinux or .ko to count in",
	sympUnknown:   "the build does not tell which object the unit is linked into",
	sympAbsent:    "the linked object does not have the symbol",
	sympAlike:     "several units of that name have the same symbols, so which is which cannot be told",
	sympUnstable:  "its position among the symbols of that name changes when the module's init part is dropped",
	sympNoSymbols: "the symbol table of the linked object cannot be read",
	sympSeveral:   "the linked object has several symbols of that name, and debug information does not tell which it is",
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// file is an index on its way into bytes.
type file struct {
	strings []byte
	units   []unit
	nodes   []node
	outs    []uint32
	edges   []edge
	syms    []symbol
	names   [][2]uint32
	byName  []uint32
	slots   []uint32
}

// unit is one translation unit.
type unit struct {
	path, source, object uint32 // strings: object file, C file, what it is linked into ("" unknown)
	flags                UnitFlags
	node0, nodes         uint32
	sym0, syms           uint32
	dumpSize, objectSize uint64
	dumpSum, objectSum   uint32 // CRC-32C of the files
}

// encode lays the index out.
func (f *file) encode() ([]byte, error) {
	counts := [numSections]uint64{
		uint64(len(f.strings)), uint64(len(f.units)), uint64(len(f.nodes)), uint64(len(f.outs)), uint64(len(f.edges)),
		uint64(len(f.syms)), uint64(len(f.names)), uint64(len(f.byName)), uint64(len(f.slots)),
	}
	if counts[secNodes] >= maxNodes || counts[secStrings] >= 1<<32 || counts[secEdges] >= 1<<32 {
		return nil, fmt.Errorf("write index: %d functions, %d edges and %d bytes of names are more than the format holds; index parts of the build",
			counts[secNodes], counts[secEdges], counts[secStrings])
	}
	for rest := f.strings; len(rest) > 0; {
		var one []byte
		if one, rest, _ = bytes.Cut(rest, []byte{0}); len(one) > maxString {
			return nil, fmt.Errorf("write index: the name %.60q… has %d bytes, and the format holds %d; index a build of a kernel", one, len(one), maxString)
		}
	}
	var offs [numSections]uint64
	size := uint64(headerSize)
	for i, n := range counts {
		offs[i] = size
		size += (n*entrySizes[i] + 7) &^ 7
	}
	b := make([]byte, size)
	f.encodeSections(b, offs)
	copy(b, magic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[16:], size)
	le.PutUint32(b[24:], numSections)
	for i := range f.units {
		if f.units[i].flags.Stale() {
			le.PutUint32(b[28:], le.Uint32(b[28:])+1)
		}
	}
	units := b[offs[secUnits] : offs[secUnits]+counts[secUnits]*unitSize]
	sum := sha256.Sum256(units)
	copy(b[32:], sum[:])
	for i, n := range counts {
		e := b[sectionTable+i*sectionEntry:]
		le.PutUint32(e, uint32(i))
		le.PutUint32(e[4:], uint32(entrySizes[i]))
		le.PutUint64(e[8:], offs[i])
		le.PutUint64(e[16:], n)
		le.PutUint32(e[24:], crc32.Checksum(b[offs[i]:offs[i]+n*entrySizes[i]], castagnoli))
	}
	le.PutUint32(b[headerSum:], crc32.Checksum(b[:headerSum], castagnoli))
	return b, nil
}

func (f *file) encodeSections(b []byte, offs [numSections]uint64) {
	copy(b[offs[secStrings]:], f.strings)
	w := b[offs[secUnits]:]
	for i := range f.units {
		f.units[i].encode(w[i*unitSize:])
	}
	w = b[offs[secNodes]:]
	for i := range f.nodes {
		n := &f.nodes[i]
		put32(w[i*nodeSize:], n.name, n.file, uint32(n.line), uint32(n.order), n.unit, n.sym)
	}
	w = b[offs[secSyms]:]
	for i := range f.syms {
		s := &f.syms[i]
		w := w[i*symbolSize:]
		le.PutUint64(w, s.value)
		le.PutUint64(w[8:], s.size)
		put32(w[16:], s.node, uint32(s.flags), s.section, s.twin, uint32(s.sympos), s.why, 0, 0)
	}
	w = b[offs[secNames]:]
	for i, n := range f.names {
		put32(w[i*8:], n[0], n[1])
	}
	put32(b[offs[secOuts]:], f.outs...)
	w = b[offs[secEdges]:]
	for i, e := range f.edges {
		le.PutUint32(w[4*i:], uint32(e))
	}
	put32(b[offs[secNameNodes]:], f.byName...)
	put32(b[offs[secSlots]:], f.slots...)
}

func (u *unit) encode(b []byte) {
	put32(b, u.path, u.source, u.object, uint32(u.flags), u.node0, u.nodes, u.sym0, u.syms)
	le.PutUint64(b[32:], u.dumpSize)
	le.PutUint64(b[40:], u.objectSize)
	put32(b[48:], u.dumpSum, u.objectSum, 0, 0)
}

func put32(b []byte, vs ...uint32) {
	for i, v := range vs {
		le.PutUint32(b[4*i:], v)
	}
}
