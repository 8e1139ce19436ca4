// SPDX-License-Identifier: Apache-2.0

package debuginfo

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"kmend/internal/dwarfscan"
	"kmend/internal/impact"
	"kmend/internal/impact/index"
)

// Index makes an index of the inlined copies that a file with debug information
// tells of.
func Index(ctx context.Context, name string) (*index.Index, error) {
	funcs, err := functions(name)
	if err != nil {
		return nil, err
	}
	object := objectName(name)
	var units []index.Unit
	used := map[string]bool{}
	err = scan(ctx, name, func(u *dwarfscan.Unit) {
		unit := index.Unit{Path: u.Name, Source: u.Name, Object: object, Copies: copies(u)}
		for i := range u.Inlines {
			if s := u.Inlines[i].Symbol; s != "" && !used[u.Name+"\x00"+s] {
				used[u.Name+"\x00"+s] = true
				unit.Funcs = append(unit.Funcs, funcs.of(s))
				funcs.placed[s] = true
			}
		}
		if len(unit.Copies) > 0 {
			units = append(units, unit)
		}
	})
	if err != nil {
		return nil, err
	}
	// Functions into which nothing was inlined: their unit is not known.
	rest := index.Unit{Path: path.Base(name), Source: path.Base(name), Object: object}
	for _, f := range funcs.list {
		if !funcs.placed[f.Name] {
			rest.Funcs = append(rest.Funcs, f)
		}
	}
	x, err := index.FromUnits(append(units, rest))
	if err != nil {
		return nil, fmt.Errorf("read debug information of %s: %w", name, err)
	}
	return x, nil
}

// objectName is what a file is: vmlinux, a module by name, else nothing.
func objectName(name string) string {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(base, index.Vmlinux):
		return index.Vmlinux
	case strings.Contains(base, ".ko"):
		stem, _, _ := strings.Cut(base, ".ko")
		return strings.ReplaceAll(stem, "-", "_")
	}
	return ""
}

func scan(ctx context.Context, name string, do func(u *dwarfscan.Unit)) error {
	f, err := dwarfscan.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Scan(ctx, func(u *dwarfscan.Unit) error {
		do(u)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// copies turns the inlined copies of a unit into edges. The way of a copy is
// part of it: a function that came along with another one is in whatever that
// one is in.
func copies(u *dwarfscan.Unit) []index.Copy {
	var out []index.Copy
	for i := range u.Inlines {
		in := &u.Inlines[i]
		to := index.Body{Name: in.Host}
		if in.Symbol != "" {
			to.Name = in.Symbol
		}
		if in.Parent >= 0 {
			p := &u.Inlines[in.Parent]
			to = index.Body{Name: p.Callee, File: p.File, Line: p.Line}
		}
		out = append(out, index.Copy{From: index.Body{Name: in.Callee, File: in.File, Line: in.Line}, To: to, Kind: impact.Inlined})
		if in.Symbol != "" && in.Symbol != in.Host {
			if kind, ok := cloneKind(in.Symbol); ok && strings.HasPrefix(in.Symbol, in.Host+".") {
				out = append(out, index.Copy{From: index.Body{Name: in.Host}, To: index.Body{Name: in.Symbol}, Kind: kind})
			}
		}
	}
	return out
}

// cloneKind tells by the last part of a clone's name how it was made.
func cloneKind(name string) (impact.Kind, bool) {
	for _, k := range []impact.Kind{impact.Isra, impact.Constprop, impact.Part} {
		if i := strings.LastIndex(name, "."+k.String()+"."); i > 0 {
			return k, true
		}
	}
	return 0, false
}

// functionTable are the function symbols of an ELF file by name; several of one
// name are one.
type functionTable struct {
	list   []index.Func
	byName map[string]int
	placed map[string]bool
}

func (t *functionTable) of(name string) index.Func {
	if i, ok := t.byName[name]; ok {
		return t.list[i]
	}
	return index.Func{Name: name}
}

// functions reads the symbol table. In a linked image the code itself tells
// whether a function begins with the call of __fentry__.
func functions(name string) (t *functionTable, err error) {
	defer func() { // debug/elf is not hardened
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("read %s: damaged ELF file: %v", name, p)
		}
	}()
	f, err := elf.Open(name)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) || errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("open debug information: %w", err)
		}
		return nil, fmt.Errorf("open debug information: %s is no ELF file: %w", name, err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read %s: its symbol table: %w", name, err)
	}
	t = &functionTable{byName: map[string]int{}, placed: map[string]bool{}}
	var fentry uint64 // its address in a linked image
	count := map[string]int{}
	for _, s := range syms {
		if s.Section != elf.SHN_UNDEF {
			count[s.Name]++
		}
		if s.Name == "__fentry__" {
			fentry = s.Value
		}
	}
	text := map[elf.SectionIndex][]byte{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Section == elf.SHN_UNDEF || int(s.Section) >= len(f.Sections) || strings.HasSuffix(s.Name, ".cold") {
			continue
		}
		if _, ok := t.byName[s.Name]; ok {
			continue
		}
		sec := f.Sections[s.Section]
		if sec.Type == elf.SHT_NOBITS {
			return nil, fmt.Errorf("read %s: its code is not in the file: it holds debug information alone; give a file with both", name)
		}
		if _, ok := text[s.Section]; !ok && sec.Type == elf.SHT_PROGBITS {
			if text[s.Section], err = sec.Data(); err != nil {
				return nil, fmt.Errorf("read %s: section %s: %w", name, sec.Name, err)
			}
		}
		t.byName[s.Name] = len(t.list)
		t.list = append(t.list, index.Func{
			Name: s.Name, Size: s.Size, Global: elf.ST_BIND(s.Info) != elf.STB_LOCAL,
			Unique: count[s.Name] == 1 && f.Type != elf.ET_REL,
			Init:   strings.HasPrefix(sec.Name, ".init.") || strings.HasPrefix(sec.Name, ".exit."),
			Fentry: beginsWithFentry(text[s.Section], s.Value-sec.Addr, fentry-sec.Addr),
		})
	}
	return t, nil
}

// beginsWithFentry recognises a call of __fentry__, one whose target is still to
// be filled in, and the five-byte no-op in its place, perhaps behind an endbr64.
// fentry is where __fentry__ is, as off counted from the section's start.
func beginsWithFentry(code []byte, off, fentry uint64) bool {
	const endbr64, call, nop = "\xf3\x0f\x1e\xfa", 0xe8, "\x0f\x1f\x44\x00\x00"
	if off < uint64(len(code)) && strings.HasPrefix(string(code[off:min(uint64(len(code)), off+4)]), endbr64) {
		off += 4
	}
	if off > uint64(len(code)) || uint64(len(code))-off < 5 {
		return false
	}
	c := code[off : off+5]
	if c[0] != call {
		return string(c) == nop
	}
	rel := binary.LittleEndian.Uint32(c[1:])
	return rel == 0 || off+5+uint64(int64(int32(rel))) == fentry
}
