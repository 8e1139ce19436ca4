// SPDX-License-Identifier: Apache-2.0

package index

import (
	"errors"
	"fmt"
	"hash/crc32"

	"kmend/internal/impact"
)

// Unit is one translation unit that is in memory.
type Unit struct {
	Path   string // of its object file
	Source string // its C file
	Object string // what it is linked into; "" unknown
	Dump   []byte
	Data   []byte // the object file; nil: Copies and Funcs are all that is known
	Copies []Copy
	Funcs  []Func
}

// Copy is an edge that another source than a dump tells of.
type Copy struct {
	From Body
	To   Body
	Kind impact.Kind
}

// Body is a function of the source. File is "" if it is not known.
type Body struct {
	Name, File string
	Line       int
}

// Func is a function symbol that another source than an object tells of.
type Func struct {
	Name   string
	Size   uint64
	Fentry bool
	Init   bool
	Global bool
	Unique bool // no other symbol of the linked object has the name
}

// FromUnits makes an index of some units. Positions of symbols are not known, but
// for Funcs that are unique.
func FromUnits(units []Unit) (*Index, error) {
	s := newScanner()
	list := make([]scanned, len(units))
	for i := range units {
		if err := s.memory(&units[i], &list[i]); err != nil {
			return nil, err
		}
	}
	m := newMerge([]*scanner{s}, "")
	for i := range units {
		m.addAs(&list[i], units[i].Source, units[i].Object)
	}
	m.finish()
	data, err := m.file.encode()
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// memory scans a unit.
func (s *scanner) memory(in *Unit, out *scanned) error {
	s.begin()
	from := [3]uint32{uint32(len(s.nodes)), uint32(len(s.links)), uint32(len(s.syms))}
	out.path, out.sourceFile = in.Path, in.Source
	out.dumpSize, out.dumpSum = uint64(len(in.Dump)), crc32.Checksum(in.Dump, castagnoli)
	if err := s.dump(in.Dump); err != nil {
		return fmt.Errorf("read the clone dump of %s: %w", in.Path, err)
	}
	s.copies(in.Copies)
	if in.Data != nil {
		unknown, err := s.object(in.Data)
		for i := from[2]; i < uint32(len(s.syms)); i++ {
			s.syms[i].why = sympNoImage
		}
		if err == nil && unknown != "" && in.Copies == nil {
			err = errors.New("it has the clone " + unknown + ", of which the dump does not tell")
		}
		if err != nil {
			return fmt.Errorf("read the object %s: %w", in.Path, err)
		}
	}
	for _, f := range in.Funcs {
		s.symbolOf(f)
	}
	out.nodes = [2]uint32{from[0], uint32(len(s.nodes))}
	out.links = [2]uint32{from[1], uint32(len(s.links))}
	out.syms = [2]uint32{from[2], uint32(len(s.syms))}
	return nil
}

func (s *scanner) copies(list []Copy) {
	first := len(s.links)
	for i := range list {
		if from, to := s.body(&list[i].From), s.body(&list[i].To); from != to {
			s.links = append(s.links, link{from, makeEdge(list[i].Kind, to)})
		}
	}
	s.settle(first)
}

// body is the node of a function; a place is noted when it is first told.
func (s *scanner) body(b *Body) uint32 {
	id := s.nodeOf([]byte(b.Name))
	if n := &s.nodes[id]; n.order == noOrder && b.File != "" {
		n.order = int32(id - s.first)
		n.file, n.line = s.strings.add([]byte(b.File)), int32(b.Line)
	}
	return id
}

func (s *scanner) symbolOf(f Func) {
	id := s.nodeOf([]byte(f.Name))
	if s.nodes[id].sym != 0 {
		return
	}
	sym := symbol{size: f.Size, node: id, twin: uint32(len(s.syms)), flags: flagInDump, why: sympSeveral}
	if f.Unique {
		sym.why = sympKnown
	}
	for flag, on := range map[SymbolFlags]bool{flagFentry: f.Fentry, flagInit: f.Init, flagGlobal: f.Global, flagClone: isClone([]byte(f.Name))} {
		if on {
			sym.flags |= flag
		}
	}
	s.syms = append(s.syms, sym)
	s.nodes[id].sym = uint32(len(s.syms))
}
