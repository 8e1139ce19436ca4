// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"bytes"
	"fmt"
)

// maxDumpLine bounds a line of a dump; assembler names and paths are far shorter.
const maxDumpLine = 1 << 20

// CloneOp says what became of a copied body (gcc/tree-inline.cc,
// gcc/cgraphclones.cc; the last field of a line).
type CloneOp uint8

const (
	// CloneRemoved: the line tells of a body that went, not of a copy.
	CloneRemoved CloneOp = iota
	// CloneInlined is "inlining to".
	CloneInlined
	// CloneConstprop is "constprop".
	CloneConstprop
	// CloneIsra is "isra".
	CloneIsra
	// ClonePart is "part".
	ClonePart
	// CloneRecursive is "(null)", the master copy of a recursive inlining.
	CloneRecursive
)

// DumpNode is a function as a line of a dump names it. The slices alias the dump.
type DumpNode struct {
	Name  []byte // assembler name
	Order int32  // GCC's symbol table order: unique in one compile
	File  []byte // source file, as it was given to the preprocessor
	Line  int32
}

// DumpError says where a dump is not what GCC writes.
type DumpError struct {
	Line int // from 1
	What string
}

func (e *DumpError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.What) }

// DumpScanner reads an .ipa-clones dump line by line as GCC 7.1 and later write
// it (gcc/symtab-clones.h; gcc/cgraph.cc: dump_callgraph_transformation). It
// allocates nothing until there is an error.
type DumpScanner struct {
	// Op, From and To are the line that Next found. To is empty for CloneRemoved.
	Op       CloneOp
	From, To DumpNode

	rest []byte
	line int
	err  error
}

// ScanDump begins to read a dump.
func ScanDump(dump []byte) DumpScanner { return DumpScanner{rest: dump} }

// Line is the number of the current line, from 1.
func (s *DumpScanner) Line() int { return s.line }

// Err is what stopped Next: nil at the end of the dump, else a *DumpError.
func (s *DumpScanner) Err() error { return s.err }

var (
	clonePrefix   = []byte("Callgraph clone;")
	removalPrefix = []byte("Callgraph removal;")
)

// Next reads one line. It is false at the end and at an error.
func (s *DumpScanner) Next() bool {
	if s.err != nil || len(s.rest) == 0 {
		return false
	}
	s.line++
	end := bytes.IndexByte(s.rest, '\n')
	if end < 0 {
		return s.fail("the dump ends within the line: GCC was stopped, or the file was cut; compile the unit again")
	}
	if end > maxDumpLine {
		return s.fail(fmt.Sprintf("%d bytes long, more than the limit of %d", end, maxDumpLine))
	}
	line := s.rest[:end]
	if bytes.IndexByte(line, 0) >= 0 {
		return s.fail("holds a NUL byte: the dump is damaged; compile the unit again")
	}
	s.rest = s.rest[end+1:]
	var ok bool
	switch {
	case bytes.HasPrefix(line, clonePrefix):
		f := line[len(clonePrefix):]
		if f, ok = s.From.take(f); ok {
			f, ok = s.To.take(f)
		}
		if ok && !s.op(f) {
			return s.fail(fmt.Sprintf("unknown operation %.60q: the dump is damaged, or GCC is newer than kmend knows", f))
		}
	case bytes.HasPrefix(line, removalPrefix):
		s.Op, s.To = CloneRemoved, DumpNode{}
		var f []byte
		// The last field has no semicolon behind it.
		f, ok = s.From.takeLast(line[len(removalPrefix):])
		ok = ok && len(f) == 0
	}
	if !ok {
		return s.fail(fmt.Sprintf("no clone and no removal record: %.120q; the dump is damaged, two compiles wrote to it, or a name or path holds a semicolon", line))
	}
	return true
}

func (s *DumpScanner) fail(what string) bool {
	s.err = &DumpError{s.line, what}
	return false
}

func (s *DumpScanner) op(f []byte) bool {
	switch string(f) {
	case "inlining to":
		s.Op = CloneInlined
	case "constprop":
		s.Op = CloneConstprop
	case "isra":
		s.Op = CloneIsra
	case "part":
		s.Op = ClonePart
	case "(null)":
		s.Op = CloneRecursive
	default:
		return false
	}
	return true
}

// take reads the five fields of a node, each with its semicolon, off a line.
func (n *DumpNode) take(f []byte) (rest []byte, ok bool) {
	if rest, ok = n.takeHead(f); !ok {
		return nil, false
	}
	_, rest, ok = number(rest, ';')
	return rest, ok
}

// takeLast is take for the node that ends a line.
func (n *DumpNode) takeLast(f []byte) (rest []byte, ok bool) {
	if rest, ok = n.takeHead(f); !ok {
		return nil, false
	}
	_, rest, ok = number(rest, 0)
	return rest, ok
}

func (n *DumpNode) takeHead(f []byte) (rest []byte, ok bool) {
	i := bytes.IndexByte(f, ';')
	if i <= 0 {
		return nil, false
	}
	// A name that the source gave by an asm label begins with a star, which the
	// symbol does not have (gcc/varasm.cc: assemble_name).
	if n.Name = bytes.TrimPrefix(f[:i], []byte("*")); len(n.Name) == 0 {
		return nil, false
	}
	if n.Order, rest, ok = number(f[i+1:], ';'); !ok {
		return nil, false
	}
	if i = bytes.IndexByte(rest, ';'); i < 0 {
		return nil, false
	}
	n.File = rest[:i]
	n.Line, rest, ok = number(rest[i+1:], ';')
	return rest, ok
}

// number reads decimal digits and the byte that ends them; end 0 is the end of
// the line.
func number(f []byte, end byte) (v int32, rest []byte, ok bool) {
	i := 0
	for ; i < len(f) && i < 9 && f[i]-'0' < 10; i++ {
		v = v*10 + int32(f[i]-'0')
	}
	switch {
	case i == 0:
		return 0, nil, false
	case end == 0:
		return v, f[i:], i == len(f)
	case i == len(f) || f[i] != end:
		return 0, nil, false
	}
	return v, f[i+1:], true
}
