// SPDX-License-Identifier: Apache-2.0

// Gendump makes a build with .ipa-clones dumps that no compiler made, to
// measure how the index grows: as many functions as one likes, in units that
// are built like the kernel's. The same arguments give the same files.
//
//	gendump DIR FUNCTIONS
package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"kmend/internal/object"
)

// In each unit: functions of its own, half of them inlined away, and functions
// of headers that all units share.
const (
	ownFunctions    = 40
	headerFunctions = 60
	headers         = 4000 // functions of headers, in all
	functionSize    = 32
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gendump DIR FUNCTIONS")
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = generate(os.Args[1], n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gendump:", err)
		os.Exit(1)
	}
}

func generate(dir string, functions int) error {
	for u := range (functions + ownFunctions - 1) / ownFunctions {
		stem := filepath.Join(dir, fmt.Sprintf("subsystem%03d", u/100), fmt.Sprintf("unit%06d", u))
		if u%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(stem), 0o755); err != nil {
				return err
			}
		}
		source, err := filepath.Rel(dir, stem+".c")
		if err != nil {
			return err
		}
		if err := os.WriteFile(stem+".c.000i.ipa-clones", dump(u, filepath.ToSlash(source)), 0o644); err != nil {
			return err
		}
		data, err := objectFile(u, filepath.Base(source))
		if err != nil {
			return err
		}
		if err := os.WriteFile(stem+".o", data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func name(unit, i int) string { return fmt.Sprintf("subsystem_driver_%06d_function_%02d", unit, i) }

const root = "/home/someone/linux-source/"

// node is a function as a dump names it; i from ownFunctions on is of a header.
func node(unit, i int, source string) string {
	if i < ownFunctions {
		return fmt.Sprintf("%s;%d;%s%s;%d;12", name(unit, i), 5000+i, root, source, 20+10*i)
	}
	h := (unit*headerFunctions/7 + i - ownFunctions) % headers
	return fmt.Sprintf("header_inline_%04d;%d;%sinclude/linux/header%03d.h;%d;29", h, 100+i, root, h/40, 30+7*(h%40))
}

// dump has the lines that GCC would write: header functions into functions of
// the unit, odd functions into even ones, one clone.
func dump(unit int, source string) []byte {
	var b bytes.Buffer
	clone := func(from, to int) {
		fmt.Fprintf(&b, "Callgraph clone;%s;%s;inlining to\n", node(unit, from, source), node(unit, to, source))
	}
	for i := range headerFunctions {
		h := ownFunctions + i
		clone(h, (i*7+unit)%ownFunctions)
		if i%2 == 1 {
			clone(h-1, h)
		}
		fmt.Fprintf(&b, "Callgraph removal;%s\n", node(unit, h, source))
	}
	for i := 1; i < ownFunctions; i += 2 {
		clone(i, i-1)
		fmt.Fprintf(&b, "Callgraph removal;%s\n", node(unit, i, source))
	}
	fmt.Fprintf(&b, "Callgraph clone;%s;%s.isra.0;%d;%s%s;%d;12;isra\n", node(unit, 0, source), name(unit, 0), 6000, root, source, 20)
	return b.Bytes()
}

// objectFile has the even functions: function 0 as a clone, which every fourth
// of the others calls.
func objectFile(unit int, source string) ([]byte, error) {
	text := &object.Section{Name: ".text", Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR), Align: 16}
	f := &object.File{Sections: []*object.Section{text}}
	f.Symbols = append(f.Symbols, &object.Symbol{Name: source, Kind: byte(elf.STT_FILE), Shndx: object.Abs})
	fentry := &object.Symbol{Name: "__fentry__", Bind: byte(elf.STB_GLOBAL)}
	var globals []*object.Symbol
	for i := 0; i < ownFunctions; i += 2 {
		at := uint64(len(text.Data))
		code := bytes.Repeat([]byte{0x90}, functionSize)
		copy(code, "\xe8\x00\x00\x00\x00")
		if i%8 == 4 {
			code[8] = 0xe8
			binary.LittleEndian.PutUint32(code[9:], uint32(-int32(at+13)))
		}
		code[functionSize-1] = 0xc3
		text.Data = append(text.Data, code...)
		text.Relocs = append(text.Relocs, object.Reloc{Offset: at + 1, Type: uint32(elf.R_X86_64_PLT32), Sym: fentry, Addend: -4})
		s := &object.Symbol{Name: name(unit, i), Kind: byte(elf.STT_FUNC), Section: text, Value: at, Size: functionSize}
		if i == 0 {
			s.Name += ".isra.0"
			f.Symbols = append(f.Symbols, s)
			continue
		}
		s.Bind = byte(elf.STB_GLOBAL)
		globals = append(globals, s)
	}
	text.Size = uint64(len(text.Data))
	f.Symbols = append(append(f.Symbols, globals...), fentry)
	return f.Bytes()
}
