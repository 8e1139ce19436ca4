// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

var le = binary.LittleEndian

const noNode = ^uint32(0)

// function is a function symbol of an object, cold parts too.
type function struct {
	name        []byte
	section     uint32
	value, size uint64
	flags       SymbolFlags
	cold, clone bool
	node        uint32
}

// objectScan reads the few parts of a relocatable ELF file that the index is
// made from. Package object reads all of it, and is the better one for
// everything that is not done for thousands of files.
type objectScan struct {
	data     []byte
	headers  []elfHeader
	names    []byte // section names
	symtab   []byte
	strtab   []byte
	funcs    []function // by section, value, place in the symbol table
	bySymbol []int32    // symbol table index → function, -1
	source   []byte     // the STT_FILE symbol, if there is just one
	files    int        // STT_FILE symbols
	text     textScan
}

type elfHeader struct {
	name, kind, link, info uint32
	flags, off, size       uint64
}

func (h *elfHeader) exec() bool { return h.flags&uint64(elf.SHF_EXECINSTR) != 0 }

const (
	ehdrSize = 64
	shdrSize = 64
	symSize  = 24
	relaSize = 24
)

// errForeign: code of another machine or mode, as that of the boot loader stub.
var errForeign = errors.New("not for x86-64")

// read finds sections and function symbols.
func (o *objectScan) read(data []byte) error {
	o.data, o.symtab, o.strtab, o.funcs, o.source, o.files = data, nil, nil, o.funcs[:0], nil, 0
	if len(data) < ehdrSize || string(data[:4]) != elf.ELFMAG {
		return errors.New("not an ELF file")
	}
	if data[4] != byte(elf.ELFCLASS64) || data[5] != byte(elf.ELFDATA2LSB) || elf.Machine(le.Uint16(data[18:])) != elf.EM_X86_64 {
		return errForeign
	}
	if t := elf.Type(le.Uint16(data[16:])); t != elf.ET_REL {
		return fmt.Errorf("an ELF file of type %v, no relocatable object", t)
	}
	if err := o.sections(); err != nil {
		return err
	}
	if err := o.symbols(); err != nil {
		return err
	}
	return o.markFentry()
}

func (o *objectScan) sections() error {
	d := o.data
	off, num, str := le.Uint64(d[40:]), uint64(le.Uint16(d[60:])), uint64(le.Uint16(d[62:]))
	if off > uint64(len(d)) || uint64(len(d))-off < shdrSize || le.Uint16(d[58:]) != shdrSize {
		return errors.New("its section headers lie outside the file")
	}
	first := parseHeader(d[off:])
	if num == 0 { // gABI: the real counts are in the first header
		num = first.size
	}
	if str == uint64(elf.SHN_XINDEX) {
		str = uint64(first.link)
	}
	if num > (uint64(len(d))-off)/shdrSize || str >= num {
		return errors.New("its section headers lie outside the file")
	}
	o.headers = o.headers[:0]
	for i := range num {
		o.headers = append(o.headers, parseHeader(d[off+i*shdrSize:]))
	}
	var err error
	o.names, err = o.contents(uint32(str))
	return err
}

func parseHeader(b []byte) elfHeader {
	return elfHeader{
		name: le.Uint32(b), kind: le.Uint32(b[4:]), flags: le.Uint64(b[8:]),
		off: le.Uint64(b[24:]), size: le.Uint64(b[32:]), link: le.Uint32(b[40:]), info: le.Uint32(b[44:]),
	}
}

func (o *objectScan) contents(i uint32) ([]byte, error) {
	if uint64(i) >= uint64(len(o.headers)) {
		return nil, fmt.Errorf("it refers to section %d of %d", i, len(o.headers))
	}
	h := &o.headers[i]
	if elf.SectionType(h.kind) == elf.SHT_NOBITS {
		return nil, nil
	}
	if h.off > uint64(len(o.data)) || h.size > uint64(len(o.data))-h.off {
		return nil, fmt.Errorf("its section %d lies outside the file", i)
	}
	return o.data[h.off : h.off+h.size], nil
}

// cstr is the string at an offset; empty if there is none.
func cstr(table []byte, off uint32) []byte {
	if uint64(off) >= uint64(len(table)) {
		return nil
	}
	b := table[off:]
	if n := bytes.IndexByte(b, 0); n >= 0 {
		return b[:n]
	}
	return nil
}

func (o *objectScan) sectionName(i uint32) []byte { return cstr(o.names, o.headers[i].name) }

func (o *objectScan) symbols() error {
	var xindex []byte
	for i := range o.headers {
		var err error
		switch elf.SectionType(o.headers[i].kind) {
		case elf.SHT_SYMTAB:
			if o.symtab, err = o.contents(uint32(i)); err == nil {
				o.strtab, err = o.contents(o.headers[i].link)
			}
		case elf.SHT_SYMTAB_SHNDX:
			xindex, err = o.contents(uint32(i))
		}
		if err != nil {
			return err
		}
	}
	if len(o.symtab)%symSize != 0 {
		return errors.New("its symbol table is cut")
	}
	n := len(o.symtab) / symSize
	o.bySymbol = o.bySymbol[:0]
	for i := range n {
		o.bySymbol = append(o.bySymbol, -1)
		o.symbol(i, xindex)
	}
	o.sortFuncs()
	return nil
}

func (o *objectScan) symbol(i int, xindex []byte) {
	b := o.symtab[i*symSize:]
	switch elf.SymType(b[4] & 15) {
	case elf.STT_FILE:
		o.source = cstr(o.strtab, le.Uint32(b))
		o.files++
		return
	case elf.STT_FUNC:
	default:
		return
	}
	sec := uint32(le.Uint16(b[6:]))
	if sec == uint32(elf.SHN_XINDEX) && (i+1)*4 <= len(xindex) {
		sec = le.Uint32(xindex[i*4:])
	}
	name := cstr(o.strtab, le.Uint32(b))
	if sec == 0 || uint64(sec) >= uint64(len(o.headers)) || len(name) == 0 {
		return
	}
	f := function{name: name, section: sec, value: le.Uint64(b[8:]), size: le.Uint64(b[16:]), node: uint32(i)}
	switch elf.SymBind(b[4] >> 4) {
	case elf.STB_LOCAL:
	case elf.STB_WEAK:
		f.flags |= flagGlobal | flagWeak
	default:
		f.flags |= flagGlobal
	}
	in := o.sectionName(sec)
	if bytes.HasPrefix(in, []byte(".init.")) || bytes.HasPrefix(in, []byte(".exit.")) {
		f.flags |= flagInit
	}
	f.cold = bytes.HasSuffix(name, []byte(".cold"))
	if !f.cold && isClone(name) {
		f.clone = true
		f.flags |= flagClone
	}
	o.funcs = append(o.funcs, f)
}

// isClone recognises the names of gcc/cgraphclones.cc: clone_function_name.
func isClone(name []byte) bool {
	dot := bytes.IndexByte(name, '.')
	if dot < 0 {
		return false
	}
	name = name[dot:]
	return bytes.Contains(name, []byte(".isra.")) || bytes.Contains(name, []byte(".constprop.")) || bytes.Contains(name, []byte(".part."))
}

// markFentry finds the functions that begin with a call of __fentry__. GCC or
// objtool lists the calls in __mcount_loc; without it the calls' own
// relocations tell. An endbr64 of 4 bytes may stand before the call.
func (o *objectScan) markFentry() error {
	return o.eachRela(func(target *elfHeader, name []byte) bool {
		return target.exec() || string(name) == "__mcount_loc"
	}, func(to uint32, exec bool, r rela) {
		if int(r.sym) >= len(o.bySymbol) {
			return
		}
		sym := o.symtab[int(r.sym)*symSize:]
		sec, at := uint32(le.Uint16(sym[6:])), le.Uint64(sym[8:])+uint64(r.addend)
		if exec {
			if sec != 0 || string(cstr(o.strtab, le.Uint32(sym))) != "__fentry__" {
				return
			}
			sec, at = to, r.off-1
		}
		if !o.setFentry(sec, at) {
			o.setFentry(sec, at-4)
		}
	})
}

func (o *objectScan) setFentry(sec uint32, at uint64) bool {
	i := o.search(sec, at)
	found := false
	for ; i < len(o.funcs) && o.funcs[i].section == sec && o.funcs[i].value == at; i++ {
		o.funcs[i].flags |= flagFentry
		found = true
	}
	return found
}

type rela struct {
	off    uint64
	kind   uint32
	sym    uint32
	addend int64
}

// eachRela calls do with every relocation of the sections that want accepts.
func (o *objectScan) eachRela(want func(target *elfHeader, name []byte) bool, do func(to uint32, exec bool, r rela)) error {
	for i := range o.headers {
		h := &o.headers[i]
		if elf.SectionType(h.kind) != elf.SHT_RELA || uint64(h.info) >= uint64(len(o.headers)) {
			continue
		}
		target := &o.headers[h.info]
		if !want(target, o.sectionName(h.info)) {
			continue
		}
		b, err := o.contents(uint32(i))
		if err != nil {
			return err
		}
		exec := target.exec()
		for ; len(b) >= relaSize; b = b[relaSize:] {
			info := le.Uint64(b[8:])
			do(h.info, exec, rela{le.Uint64(b), uint32(info), uint32(info >> 32), int64(le.Uint64(b[16:]))})
		}
	}
	return nil
}
