// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"
)

// Index is an index that was opened. It is read-only and safe for concurrent
// use; questions go through a Query.
type Index struct {
	data   []byte
	sec    [numSections][]byte
	counts [numSections]uint32
	mapped bool
}

// FormatError says that a file is no index that this version can use.
type FormatError struct {
	Name string // of the file; "" if it was read from memory
	What string
}

func (e *FormatError) Error() string {
	name := e.Name
	if name == "" {
		name = "index"
	}
	return fmt.Sprintf("open %s: %s; make it anew with kmend impact index", name, e.What)
}

// Open maps an index into memory. Its header and the bounds of its sections
// are checked; what is in them is checked when it is used, and by Verify.
func Open(name string) (*Index, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() < headerSize {
		return nil, &FormatError{name, "no index: it is too short, or no file"}
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("open index %s: map it into memory: %w", name, err)
	}
	x, err := Parse(data)
	if err != nil {
		_ = unix.Munmap(data)
		var fe *FormatError
		if errors.As(err, &fe) {
			fe.Name = name
		}
		return nil, err
	}
	x.mapped = true
	return x, nil
}

// Close gives the memory back. Nothing of the index may be used after it.
func (x *Index) Close() error {
	if !x.mapped {
		return nil
	}
	x.mapped = false
	return unix.Munmap(x.data)
}

// Parse reads an index from memory, which must not change.
func Parse(data []byte) (*Index, error) {
	fail := func(format string, args ...any) (*Index, error) {
		return nil, &FormatError{What: fmt.Sprintf(format, args...)}
	}
	if len(data) < headerSize || !bytes.HasPrefix(data, []byte(magic)) {
		return fail("no index: it does not begin with %q", magic)
	}
	if v := le.Uint32(data[8:]); v != formatVersion {
		return fail("format version %d; this kmend reads version %d", v, formatVersion)
	}
	if le.Uint32(data[12:]) != headerSize || le.Uint32(data[24:]) != numSections || le.Uint32(data[headerSum:]) != crc32.Checksum(data[:headerSum], castagnoli) {
		return fail("the header is damaged")
	}
	if size := le.Uint64(data[16:]); size != uint64(len(data)) {
		return fail("%d bytes long, but made with %d: it was cut", len(data), size)
	}
	x := &Index{data: data}
	end := uint64(headerSize)
	for i := range numSections {
		e := data[sectionTable+i*sectionEntry:]
		off, n, each := le.Uint64(e[8:]), le.Uint64(e[16:]), uint64(le.Uint32(e[4:]))
		if le.Uint32(e) != uint32(i) || each != entrySizes[i] || off < end || off%8 != 0 || off > uint64(len(data)) || n > (uint64(len(data))-off)/each || n >= 1<<32 {
			return fail("the section of %s lies outside the file", sectionNames[i])
		}
		x.sec[i], x.counts[i] = data[off:off+n*each], uint32(n)
		end = off + n*each
	}
	if err := x.shape(); err != nil {
		return nil, err
	}
	return x, nil
}

// shape checks the numbers of entries against each other.
func (x *Index) shape() error {
	n := &x.counts
	slots := n[secSlots]
	switch {
	case n[secStrings] == 0 || x.sec[secStrings][0] != 0 || x.sec[secStrings][n[secStrings]-1] != 0,
		n[secOuts] != n[secNodes]+1,
		n[secNames] == 0 || n[secNameNodes] != n[secNodes],
		slots == 0 || slots&(slots-1) != 0 || slots < n[secNames]:
		return &FormatError{What: "the sections do not fit each other"}
	}
	return nil
}

// Inputs identifies what the index was made from: the SHA-256 of its unit
// records, which hold names, sizes and checksums of all files.
func (x *Index) Inputs() [32]byte { return [32]byte(x.data[32:64]) }

// Stale is the number of units whose account cannot be relied on.
func (x *Index) Stale() int { return int(le.Uint32(x.data[28:])) }

// Size is the number of bytes of the index.
func (x *Index) Size() int { return len(x.data) }

// Units, Nodes, Edges, Symbols and Names are what the index holds.
func (x *Index) Units() int   { return int(x.counts[secUnits]) }
func (x *Index) Nodes() int   { return int(x.counts[secNodes]) }
func (x *Index) Edges() int   { return int(x.counts[secEdges]) }
func (x *Index) Symbols() int { return int(x.counts[secSyms]) }
func (x *Index) Names() int   { return int(x.counts[secNames]) - 1 }

// view reads records. A reference that leads nowhere gives an empty record and
// is remembered in err, so that questions can go on without a check at each step.
type view struct {
	x   *Index
	err error
}

func (v *view) damaged(what string, at uint32) {
	if v.err == nil {
		v.err = &FormatError{What: fmt.Sprintf("damaged: %s %d is not there", what, at)}
	}
}

// record is entry i of a section; nil if there is none.
func (v *view) record(sec int, i uint32) []byte {
	if i >= v.x.counts[sec] {
		v.damaged("entry of "+sectionNames[sec], i)
		return nil
	}
	size := uint64(entrySizes[sec])
	return v.x.sec[sec][uint64(i)*size : (uint64(i)+1)*size]
}

func (v *view) u32(sec int, i uint32) uint32 {
	if b := v.record(sec, i); b != nil {
		return le.Uint32(b)
	}
	return 0
}

// bytes is the string at an offset.
func (v *view) bytes(off uint32) []byte {
	s := v.x.sec[secStrings]
	// Strings do not begin within each other: many long ones could be made of few
	// bytes then.
	if uint64(off) >= uint64(len(s)) || off > 0 && s[off-1] != 0 {
		v.damaged("string at", off)
		return nil
	}
	s = s[off:]
	n := bytes.IndexByte(s[:min(len(s), maxString+1)], 0)
	if n < 0 {
		v.damaged("end of the string at", off)
		return nil
	}
	return s[:n]
}

func (v *view) str(off uint32) string { return string(v.bytes(off)) }

func (v *view) node(i uint32) (n node) {
	if b := v.record(secNodes, i); b != nil {
		n = node{name: le.Uint32(b), file: le.Uint32(b[4:]), line: int32(le.Uint32(b[8:])), order: int32(le.Uint32(b[12:])),
			unit: le.Uint32(b[16:]), sym: le.Uint32(b[20:])}
	}
	return n
}

// symbolNumber is the sym of a node.
func (v *view) symbolNumber(i uint32) uint32 {
	if i >= v.x.counts[secNodes] {
		v.damaged("entry of nodes", i)
		return 0
	}
	return le.Uint32(v.x.sec[secNodes][uint64(i)*nodeSize+20:])
}

func (v *view) symbol(i uint32) (s symbol) {
	if b := v.record(secSyms, i); b != nil {
		s = symbol{value: le.Uint64(b), size: le.Uint64(b[8:]), node: le.Uint32(b[16:]), flags: SymbolFlags(le.Uint32(b[20:])),
			section: le.Uint32(b[24:]), twin: le.Uint32(b[28:]), sympos: int32(le.Uint32(b[32:])), why: le.Uint32(b[36:])}
	}
	return s
}

func (v *view) unit(i uint32) (u unit) {
	if b := v.record(secUnits, i); b != nil {
		u = unit{path: le.Uint32(b), source: le.Uint32(b[4:]), object: le.Uint32(b[8:]), flags: UnitFlags(le.Uint32(b[12:])),
			node0: le.Uint32(b[16:]), nodes: le.Uint32(b[20:]), sym0: le.Uint32(b[24:]), syms: le.Uint32(b[28:]),
			dumpSize: le.Uint64(b[32:]), objectSize: le.Uint64(b[40:]), dumpSum: le.Uint32(b[48:]), objectSum: le.Uint32(b[52:])}
	}
	return u
}

// span is the entries [from, to) that a table of firsts gives for i.
func (v *view) span(from, to, limit uint32, what string) (uint32, uint32) {
	if from > to || to > limit {
		v.damaged(what, to)
		return 0, 0
	}
	return from, to
}

// edges is the range of edges of a node.
func (v *view) edges(i uint32) (from, to uint32) {
	if uint64(i)+1 >= uint64(v.x.counts[secOuts]) {
		v.damaged("entry of first edges", i)
		return 0, 0
	}
	b := v.x.sec[secOuts][4*uint64(i):]
	return v.span(le.Uint32(b), le.Uint32(b[4:]), v.x.counts[secEdges], "edge")
}

// named is the range in the nodes by name of a name.
func (v *view) named(i uint32) (from, to uint32) {
	a, b := v.record(secNames, i), v.record(secNames, i+1)
	if a == nil || b == nil {
		return 0, 0
	}
	return v.span(le.Uint32(a[4:]), le.Uint32(b[4:]), v.x.counts[secNameNodes], "node by name")
}

// lookup is the number of a name.
func (v *view) lookup(name []byte) (uint32, bool) {
	mask := v.x.counts[secSlots] - 1
	i := uint32(hashName(name)) & mask
	for range v.x.counts[secSlots] {
		slot := v.u32(secSlots, i)
		if slot == 0 {
			return 0, false
		}
		if b := v.record(secNames, slot-1); b != nil && bytes.Equal(v.bytes(le.Uint32(b)), name) {
			return slot - 1, true
		}
		i = (i + 1) & mask
	}
	return 0, false
}

// Verify reads all of an index: checksums, and whether everything that one
// entry says of another is so. Open does not, as it would take longer than a
// question.
func (x *Index) Verify() error {
	for i := range numSections {
		if sum := le.Uint32(x.data[sectionTable+i*sectionEntry+24:]); sum != crc32.Checksum(x.sec[i], castagnoli) {
			return &FormatError{What: "the section of " + sectionNames[i] + " is damaged: its checksum does not fit"}
		}
	}
	v := &view{x: x}
	for i := range x.counts[secNodes] {
		n := v.node(i)
		u := v.unit(n.unit)
		v.bytes(n.name)
		v.bytes(n.file)
		if n.sym != 0 {
			v.symbol(n.sym - 1)
		}
		if i-u.node0 >= u.nodes {
			v.damaged("function in its unit", i)
		}
		from, to := v.edges(i)
		for e := from; e < to; e++ {
			if edge := edge(v.u32(secEdges, e)); edge.to()-u.node0 >= u.nodes {
				v.damaged("function of the same unit", edge.to())
			}
		}
		v.node(v.u32(secNameNodes, i))
	}
	for i := range x.counts[secSyms] {
		s := v.symbol(i)
		v.node(s.node)
		v.symbol(s.twin)
		v.bytes(s.section)
	}
	for i := range x.counts[secNames] - 1 {
		v.named(i)
		if n, ok := v.lookup(v.bytes(le.Uint32(v.record(secNames, i)))); !ok || n != i {
			v.damaged("name in the hash table", i)
		}
	}
	if list, err := x.NewQuery().StaleUnits(); err == nil && len(list) != x.Stale() {
		v.damaged("unit to make the count of stale ones", uint32(x.Stale()))
	}
	return v.err
}
