// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Errors of this package wrap one of these, if they are about the file.
var (
	// ErrNoDebugInfo: the file has no .debug_info.
	ErrNoDebugInfo = errors.New("no DWARF debug information")
	// ErrUnsupported: the file is well, but needs what this package does not do.
	ErrUnsupported = errors.New("unsupported")
	// ErrDamaged: the file contradicts itself or the DWARF standard.
	ErrDamaged = errors.New("damaged")
)

// Inline says that the body of one function was copied into another. Within a
// unit each triple of Callee, Host and Symbol occurs once.
type Inline struct {
	// Callee is the function that was copied: its linkage name
	// (DW_AT_linkage_name; C has it only where an asm label differs from the
	// name), else its name, as found at the abstract origin of the copy or at
	// what that specifies.
	Callee string
	// File and Line are where Callee is declared (DW_AT_decl_file,
	// DW_AT_decl_line): the path as the compiler was given it, under CompDir if
	// relative. Empty and 0 if the debug information does not say.
	File string
	Line int
	// Host is the out-of-line function whose code holds the copy, named as
	// Callee is. A clone that GCC made (.constprop, .isra, .part) has the name
	// of the function that it was made from. It equals Callee if a function was
	// copied into itself, or one half of a split function into the other.
	Host string
	// Symbol is the function symbol at the entry of Host (DW_AT_low_pc, else
	// the first of DW_AT_ranges): the only place that tells clones apart. Of
	// several at one address it is that named Host, else one named Host.…, else
	// the first of the global and then the other ones by name. Empty if the
	// symbol table has none there, as for code that the linker discarded or a
	// weak function that another one overrides.
	Symbol string
	// Depth is 1 if Callee was copied into Host itself, 2 if into a copy in
	// Host, and so on; the least of all copies in Host.
	Depth int
	// Parent is the index in Unit.Inlines of the function through which Callee
	// came, at a smaller depth and into the same Host and Symbol; -1 at depth 1.
	Parent int
}

// Unit is one compilation unit.
type Unit struct {
	Offset  uint64   // of its header in .debug_info
	Name    string   // DW_AT_name: the source file as given to the compiler
	CompDir string   // DW_AT_comp_dir
	Inlines []Inline // ordered by the first copy in .debug_info
	// Entries, Functions and Copies count the debugging information entries of
	// the unit, those with tag DW_TAG_subprogram, and those with tag
	// DW_TAG_inlined_subroutine.
	Entries, Functions, Copies int
}

// Chain names the functions from Inlines[i].Callee to its Host, both included:
// each was copied into the next. It is shorter than Depth says where a function
// was copied into a copy of itself.
func (u *Unit) Chain(i int) []string {
	host := u.Inlines[i].Host
	var names []string
	for ; i >= 0; i = u.Inlines[i].Parent {
		names = append(names, u.Inlines[i].Callee)
	}
	return append(names, host)
}

// File is a file with debug information. It may be scanned by several
// goroutines at once.
type File struct {
	mapped   []byte // to be unmapped
	sections sections
	symbols  symbols
	units    []unitHeader
	tables   tableCache
}

// Open maps a file into memory. Nobody may shorten it before Close.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open debug information: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("open debug information: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, fmt.Errorf("open debug information: %s is no ELF file: not a regular file, or empty: %w", path, ErrDamaged)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("open debug information: map %s: %w", path, err)
	}
	f, err := New(data)
	if err != nil {
		unix.Munmap(data)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.mapped = data
	return f, nil
}

// New is Open for a file in memory, which must stay as it is.
func New(data []byte) (f *File, err error) {
	defer faultIsError(&err)()
	elf, err := readELF(data)
	if err != nil {
		return nil, fmt.Errorf("read debug information: %w", err)
	}
	sections, err := elf.debugSections()
	if err != nil {
		return nil, fmt.Errorf("read debug information: %w", err)
	}
	symbols, err := elf.functionSymbols()
	if err != nil {
		return nil, fmt.Errorf("read debug information: %w", err)
	}
	return newFile(sections, symbols)
}

func newFile(sections sections, symbols symbols) (*File, error) {
	units, err := readUnitHeaders(sections.info)
	if err != nil {
		return nil, fmt.Errorf("read debug information: %w", err)
	}
	if len(units) == 0 {
		return nil, fmt.Errorf("read debug information: .debug_info is empty: compile with -g: %w", ErrNoDebugInfo)
	}
	f := &File{sections: sections, symbols: symbols, units: units}
	f.tables.init(sections.abbrev)
	return f, nil
}

// Close unmaps the file. What Scan returned stays valid.
func (f *File) Close() error {
	data := f.mapped
	f.mapped, f.units, f.sections, f.symbols = nil, nil, sections{}, symbols{}
	if data == nil {
		return nil
	}
	return unix.Munmap(data)
}

// Scan reads all units on all cores and gives each to yield, one at a time and
// in the order of the file. It stops at the first error, its own or that of
// yield; units before a damaged one may have been given by then.
func (f *File) Scan(ctx context.Context, yield func(*Unit) error) error {
	if len(f.units) == 0 {
		return errors.New("scan debug information: the file was closed; open it again")
	}
	group, ctx := errgroup.WithContext(ctx)
	var (
		taken atomic.Int64
		mu    sync.Mutex
		done  = make([]*Unit, len(f.units))
		next  int
	)
	deliver := func(i int, u *Unit) error {
		mu.Lock()
		defer mu.Unlock()
		for done[i] = u; next < len(done) && done[next] != nil; next++ {
			u := done[next]
			done[next] = nil
			if err := yield(u); err != nil {
				next = len(done)
				return err
			}
		}
		return nil
	}
	for range min(runtime.GOMAXPROCS(0), len(f.units)) {
		group.Go(func() (err error) {
			defer faultIsError(&err)()
			s := newScanner(f)
			for {
				i := int(taken.Add(1)) - 1
				if i >= len(f.units) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				u, err := s.unit(&f.units[i])
				if err != nil {
					return fmt.Errorf("scan debug information: %w", err)
				}
				if err := deliver(i, u); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// Units is Scan with all units kept.
func (f *File) Units(ctx context.Context) ([]*Unit, error) {
	units := make([]*Unit, 0, len(f.units))
	err := f.Scan(ctx, func(u *Unit) error {
		units = append(units, u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return units, nil
}

// faultIsError makes an error of a page of the mapping that is gone, since the
// file was shortened under us; to be called, and its result deferred.
func faultIsError(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // runtime.errorAddressString
			*err = fmt.Errorf("read debug information: the file was shortened while it was read (fault at %#x): do it again: %w", p.Addr(), ErrDamaged)
		default:
			panic(p)
		}
	}
}
