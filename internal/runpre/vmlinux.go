// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"debug/elf"
	"fmt"
	"sort"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// memory is the file contents of an image by virtual address (*kernel.Image).
type memory interface {
	Bytes(addr uint64, n int) ([]byte, error)
}

// symbolTable is the image's symbol table (*kernel.SymbolTable).
type symbolTable interface {
	Lookup(name string) []kernel.Symbol
	At(addr uint64) []kernel.Symbol
	Size(s kernel.Symbol) uint64
	Sympos(s kernel.Symbol) int
}

// vmlinux is a linked image: every reference is an address.
type vmlinux struct {
	mem  memory
	syms symbolTable
}

// isGlobal interprets nm's letter.
func isGlobal(t byte) bool { return t >= 'A' && t <= 'Z' }

func (v *vmlinux) symbol(s kernel.Symbol) Symbol {
	return Symbol{Name: s.Name, Addr: s.Addr, Global: isGlobal(s.Type), Sympos: v.syms.Sympos(s), place: s.Addr}
}

func (v *vmlinux) functions(name string, global bool) []Symbol {
	var out []Symbol
	for _, s := range v.syms.Lookup(name) {
		switch s.Type {
		case 't', 'T', 'w', 'W':
			if isGlobal(s.Type) == global {
				out = append(out, v.symbol(s))
			}
		}
	}
	return out
}

func (v *vmlinux) room(s Symbol) uint64 {
	return v.syms.Size(kernel.Symbol{Name: s.Name, Addr: s.Addr})
}

func (v *vmlinux) code(addr uint64, n int) []byte {
	b, err := v.mem.Bytes(addr, n)
	if err == nil {
		return b
	}
	// Less than n bytes are left before the end of a segment.
	left := sort.Search(n, func(k int) bool {
		_, err := v.mem.Bytes(addr, k+1)
		return err != nil
	})
	if b, err = v.mem.Bytes(addr, left); err != nil {
		return nil
	}
	return b
}

func (v *vmlinux) data(addr uint64, n int) ([]byte, error) { return v.mem.Bytes(addr, n) }

func (v *vmlinux) readsTo(addr uint64, field []byte, t uint32) (target, error) {
	return fieldValue(addr, field, t)
}

// fieldValue turns the contents of a relocated field into symbol plus addend
// (psABI table 4.9: S + A and S + A - P).
func fieldValue(addr uint64, field []byte, t uint32) (target, error) {
	var n uint64
	switch len(field) {
	case 8:
		n = le.Uint64(field)
	case 4:
		n = uint64(int64(int32(le.Uint32(field))))
		if t == uint32(elf.R_X86_64_32) {
			n = uint64(le.Uint32(field))
		}
	default:
		return target{}, fmt.Errorf("relocation %s of %d bytes is not known in kernel code", object.RelocName(t), len(field))
	}
	if object.PCRelative(t) {
		n += addr
	}
	return target{addr: n}, nil
}

func (v *vmlinux) relocated(from, to uint64) int { return 0 }

func (v *vmlinux) linked() bool { return true }

func (v *vmlinux) has(name string, global bool, addr uint64) bool {
	for _, s := range v.syms.Lookup(name) {
		if s.Addr == addr && (!global || isGlobal(s.Type)) {
			return true
		}
	}
	return false
}

func (v *vmlinux) defines(name string) bool { return len(v.syms.Lookup(name)) > 0 }

func (v *vmlinux) at(addr uint64) []Symbol {
	var out []Symbol
	for _, s := range v.syms.At(addr) {
		out = append(out, v.symbol(s))
	}
	return out
}

func (v *vmlinux) locate(addr uint64) (string, uint64) { return "", addr }
