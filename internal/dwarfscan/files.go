// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"fmt"
	"strings"
)

// fileTable is the list of files in the header of a unit's line table: where
// the names are, not yet the names.
type fileTable struct {
	version uint16
	dirs    []textRef
	files   []fileEntry
	names   map[uint64]string
}

type fileEntry struct {
	name textRef
	dir  uint32
}

// textTable: at an offset in .debug_line. Together with the kinds of textRef.
const textTable textRef = 5 << 61

// fileName is the path of file i of a unit, without the compilation directory;
// empty if the unit has no line table.
func (s *scanner) fileName(r *root, i uint64) (string, error) {
	t := s.resolver.files[r]
	if t == nil {
		if !r.has(slotLineTable) {
			return "", nil
		}
		var err error
		var size int
		if t, size, err = readFileTable(s.file.sections.line, r.v[slotLineTable]); err != nil {
			return "", fmt.Errorf("line table at %#x in .debug_line: %w", r.v[slotLineTable], err)
		}
		if s.lineBudget -= size; s.lineBudget < 0 {
			return "", fmt.Errorf("line table at %#x in .debug_line: the tables overlap many times: %w", r.v[slotLineTable], ErrDamaged)
		}
		s.resolver.files[r] = t
	}
	if name, ok := t.names[i]; ok {
		return name, nil
	}
	name, err := s.file.filePath(r, t, i)
	if err != nil {
		return "", fmt.Errorf("file %d of the line table at %#x in .debug_line: %w", i, r.v[slotLineTable], err)
	}
	t.names[i] = name
	return name, nil
}

func (f *File) filePath(r *root, t *fileTable, i uint64) (string, error) {
	if t.version < 5 { // counted from 1; 0: not said
		if i == 0 {
			return "", nil
		}
		i--
	}
	if i >= uint64(len(t.files)) {
		return "", fmt.Errorf("there are only %d: %w", len(t.files), ErrDamaged)
	}
	name, err := f.tableText(r, t.files[i].name)
	if err != nil {
		return "", err
	}
	dir := t.files[i].dir
	if dir == 0 || strings.HasPrefix(string(name), "/") { // directory 0 is that of the compilation
		return string(name), nil
	}
	if t.version < 5 {
		dir--
	}
	if dir >= uint32(len(t.dirs)) {
		return "", fmt.Errorf("directory %d, but there are only %d: %w", dir, len(t.dirs), ErrDamaged)
	}
	path, err := f.tableText(r, t.dirs[dir])
	if err != nil {
		return "", err
	}
	return string(path) + "/" + string(name), nil
}

func (f *File) tableText(r *root, ref textRef) ([]byte, error) {
	if ref&textKind != textTable {
		return f.text(r, ref)
	}
	s, ok := cstring(f.sections.line, uint64(ref&^textKind))
	if !ok {
		return nil, fmt.Errorf("no string at %#x in .debug_line: %w", ref&^textKind, ErrDamaged)
	}
	return s, nil
}

// readFileTable reads the header of a line table (DWARF 5, 6.2.4; DWARF 4,
// 6.2.4) and says how many bytes it has up to there.
func readFileTable(line []byte, off uint64) (*fileTable, int, error) {
	if off >= uint64(len(line)) {
		return nil, 0, fmt.Errorf("the section has %d bytes: %w", len(line), ErrDamaged)
	}
	var l layout
	bad := fmt.Errorf("its header does not fit it: %w", ErrDamaged)
	pos, ok := int(off), true
	next := func(n int) uint64 {
		v, fits := fixed(line, pos, n)
		ok = ok && fits
		pos += n
		return v
	}
	length := next(4)
	if length == 0xffffffff {
		l.wide = true
		length = next(8)
	}
	if !ok || length > uint64(len(line)-pos) {
		return nil, 0, bad
	}
	line = line[:uint64(pos)+length]
	t := &fileTable{version: uint16(next(2)), names: map[uint64]string{}}
	if ok && (t.version < 2 || t.version > 5) {
		return nil, 0, fmt.Errorf("version %d, known are 2 to 5: compile with -gdwarf-5: %w", t.version, ErrUnsupported)
	}
	if t.version >= 5 {
		pos += 2 // sizes of an address and of a segment selector
	}
	next(l.offset()) // length of the header
	pos += 4         // minimum_instruction_length to line_range
	if t.version >= 4 {
		pos++ // maximum_operations_per_instruction
	}
	pos += int(max(next(1), 1)) - 1 // opcode_base, standard_opcode_lengths
	if !ok || pos > len(line) {
		return nil, 0, bad
	}
	if t.version >= 5 {
		ok = t.readEntries(l, line, &pos, true) && t.readEntries(l, line, &pos, false)
	} else {
		ok = t.readOld(line, &pos)
	}
	if !ok {
		return nil, 0, bad
	}
	return t, pos - int(off), nil
}

// readOld reads directories and files of version 4 and before.
func (t *fileTable) readOld(line []byte, at *int) bool {
	str, pos := layout{}, *at
	for {
		start := pos
		if pos = str.skip(line, pos, formString); pos < 0 {
			return false
		}
		if pos == start+1 {
			break
		}
		t.dirs = append(t.dirs, textTable|textRef(start))
	}
	for {
		start := pos
		if pos = str.skip(line, pos, formString); pos < 0 {
			return false
		}
		if pos == start+1 {
			*at = pos
			return true
		}
		var nums [3]uint64 // directory, time, length
		for i := range nums {
			if nums[i], pos = uleb(line, pos); pos < 0 || nums[i] > 1<<62 {
				return false
			}
		}
		t.files = append(t.files, fileEntry{textTable | textRef(start), uint32(min(nums[0], 1<<32-1))})
	}
}

// readEntries reads the directories or the files of version 5: a format, then
// entries that follow it.
func (t *fileTable) readEntries(l layout, line []byte, pos *int, dirs bool) bool {
	if *pos >= len(line) {
		return false
	}
	formats := make([][2]uint64, line[*pos])
	p := *pos + 1
	for i := range formats {
		for j := range formats[i] {
			if formats[i][j], p = uleb(line, p); p < 0 || formats[i][j] > 0xffff {
				return false
			}
		}
	}
	count, p := uleb(line, p)
	if p < 0 {
		return false
	}
	if room := int(min(count, uint64(len(line)-p))); dirs { // an entry has a byte at least
		t.dirs = make([]textRef, 0, room)
	} else {
		t.files = make([]fileEntry, 0, room)
	}
	for ; count > 0; count-- {
		var e fileEntry
		start := p
		for _, f := range formats {
			if p = e.read(l, line, p, f[0], form(f[1])); p < 0 {
				return false
			}
		}
		if p == start || e.name == 0 {
			return false
		}
		if dirs {
			t.dirs = append(t.dirs, e.name)
		} else {
			t.files = append(t.files, e)
		}
	}
	*pos = p
	return true
}

// read reads one field of an entry: content is a DW_LNCT.
func (e *fileEntry) read(l layout, line []byte, pos int, content uint64, f form) int {
	next := pos
	if size := l.size(f); size >= 0 {
		if next += size; next > len(line) {
			return -1
		}
	} else if next = l.skip(line, pos, f); next < 0 {
		return -1
	}
	switch content {
	case 1: // DW_LNCT_path
		n := uint64(pos)
		switch f {
		case formString:
			e.name = textTable
		case formStrp, formLineStrp:
			n, _ = fixed(line, pos, l.offset())
			if e.name = textLine; f == formStrp {
				e.name = textStr
			}
		default:
			return -1 // an index: no compiler puts one here
		}
		if n >= 1<<61 {
			return -1
		}
		e.name |= textRef(n)
	case 2: // DW_LNCT_directory_index
		var n uint64
		switch f {
		case formUdata:
			n, _ = uleb(line, pos)
		case formData1, formData2:
			n, _ = fixed(line, pos, next-pos)
		default:
			return -1
		}
		e.dir = uint32(min(n, 1<<32-1))
	}
	return next
}
