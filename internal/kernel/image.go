// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Image is the kernel as it is loaded: the file contents of a vmlinux's
// segments and the symbol table found in them. It is read-only and safe for
// concurrent use.
type Image struct {
	// BuildID is the GNU build id in hex, as /sys/kernel/notes of a running
	// kernel has it.
	BuildID string
	// Banner is linux_banner: "Linux version RELEASE (…) (COMPILER, LINKER) #…".
	Banner string

	segments []segment
	sections []ImageSection
	btf      []byte
	symbols  *SymbolTable
}

// segment is one PT_LOAD: its file contents at their virtual address.
type segment struct {
	addr uint64
	data []byte
}

// ImageSection is an allocated section of the image. x86 keeps the section
// headers in vmlinuz, only symbols and debug data are stripped.
type ImageSection struct {
	Name  string
	Addr  uint64 // virtual address; per-CPU sections start at 0
	Size  uint64
	Flags elf.SectionFlag
	// NoBits: the section has no contents of its own in the file (.bss).
	NoBits bool
}

// OpenImage reads an uncompressed x86-64 vmlinux and decodes its symbol table.
func OpenImage(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	im, err := readImage(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", path, err)
	}
	return im, nil
}

// ReadImage is OpenImage on bytes.
func ReadImage(b []byte) (*Image, error) {
	return readImage(bytes.NewReader(b), int64(len(b)))
}

func readImage(r io.ReaderAt, size int64) (*Image, error) {
	im := &Image{}
	if err := im.readELF(r, size); err != nil {
		return nil, err
	}
	if im.BuildID == "" {
		return nil, errors.New("no GNU build id in its notes: a kernel that cannot be told apart cannot be patched")
	}
	if err := im.readKallsyms(); err != nil {
		return nil, err
	}
	return im, im.check()
}

// readELF reads segments, sections and notes. debug/elf does not promise to be
// hardened against hostile files, so its panics become errors here.
func (im *Image) readELF(r io.ReaderAt, size int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged ELF file: %v", p)
		}
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		return fmt.Errorf("not an x86-64 kernel image (%v %v %v)", f.Class, f.Machine, f.Type)
	}
	total := uint64(0)
	for _, p := range f.Progs {
		if p.Filesz > uint64(size) || p.Off > uint64(size)-p.Filesz {
			return fmt.Errorf("the segment at %#x lies outside the file: the file is truncated", p.Vaddr)
		}
		if total += p.Filesz; total > maxImageSize {
			return fmt.Errorf("more than %d bytes of segments: no kernel image is that large", maxImageSize)
		}
		if p.Type != elf.PT_LOAD && p.Type != elf.PT_NOTE {
			continue
		}
		data := make([]byte, p.Filesz)
		if _, err := r.ReadAt(data, int64(p.Off)); err != nil && !(errors.Is(err, io.EOF) && len(data) == 0) {
			return fmt.Errorf("read the segment at %#x: %w", p.Vaddr, err)
		}
		if p.Type == elf.PT_NOTE {
			if id := GNUBuildID(data); id != "" {
				im.BuildID = id
			}
			continue
		}
		im.segments = append(im.segments, segment{p.Vaddr, data})
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Size == 0 {
			continue
		}
		im.sections = append(im.sections, ImageSection{s.Name, s.Addr, s.Size, s.Flags, s.Type == elf.SHT_NOBITS})
		if s.Name == ".BTF" && s.Size <= maxImageSize {
			if b, err := im.Bytes(s.Addr, int(s.Size)); err == nil {
				im.btf = b
			}
		}
	}
	return nil
}

// GNUBuildID finds the build id in ELF notes (gABI: 4-byte aligned name and
// description), as /sys/kernel/notes and a section .notes have them: in hex, "" if
// there is none.
func GNUBuildID(b []byte) string {
	le := binary.LittleEndian
	for len(b) >= 12 {
		nameLen, descLen, kind := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		nameEnd := 12 + (nameLen+3)&^3
		descEnd := nameEnd + (descLen+3)&^3
		if nameEnd+descLen > uint64(len(b)) {
			return ""
		}
		if kind == 3 && string(b[12:12+nameLen]) == "GNU\x00" {
			return hex.EncodeToString(b[nameEnd : nameEnd+descLen])
		}
		if descEnd > uint64(len(b)) {
			return ""
		}
		b = b[descEnd:]
	}
	return ""
}

func (im *Image) readKallsyms() error {
	var found bool
	var last error
	for _, s := range im.segments {
		t, ok, err := findKallsyms(s.data)
		if err != nil {
			found, last = true, err
			continue
		}
		if !ok {
			continue
		}
		im.symbols, err = t.decode()
		if err != nil {
			return fmt.Errorf("decode kallsyms: %w", err)
		}
		for _, s := range im.sections {
			im.symbols.ends = append(im.symbols.ends, addrRange{s.Addr, s.Addr + s.Size})
		}
		return nil
	}
	if found {
		return fmt.Errorf("find kallsyms: %w", last)
	}
	return errors.New("find kallsyms: no symbol table in the image: the kernel must be built with CONFIG_KALLSYMS=y")
}

// check reads the banner through the symbol table: if name, address and image
// fit there, the decoding of names and addresses did not go astray.
func (im *Image) check() error {
	for _, name := range []string{"_text", "_stext"} {
		s := im.symbols.Lookup(name)
		if len(s) != 1 {
			return fmt.Errorf("check kallsyms: %d symbols named %s, 1 expected", len(s), name)
		}
		if _, err := im.Bytes(s[0].Addr, 16); err != nil {
			return fmt.Errorf("check kallsyms: %s: %w", name, err)
		}
	}
	banner, err := im.stringAt("linux_banner")
	if err != nil {
		return fmt.Errorf("check kallsyms: %w (CONFIG_KALLSYMS_ALL=y is needed)", err)
	}
	if !strings.HasPrefix(banner, "Linux version ") {
		return fmt.Errorf("check kallsyms: linux_banner reads %.40q: symbol table and image do not fit", banner)
	}
	im.Banner = strings.TrimSuffix(banner, "\n")
	return nil
}

// stringAt reads the NUL-terminated string at the only symbol of that name.
func (im *Image) stringAt(symbol string) (string, error) {
	s := im.symbols.Lookup(symbol)
	if len(s) != 1 {
		return "", fmt.Errorf("%d symbols named %s, 1 expected", len(s), symbol)
	}
	return im.cString(s[0].Addr)
}

// cString reads a NUL-terminated string of at most 4095 bytes.
func (im *Image) cString(addr uint64) (string, error) {
	for i := range im.segments {
		s := &im.segments[i]
		if addr < s.addr || addr-s.addr >= uint64(len(s.data)) {
			continue
		}
		b := s.data[addr-s.addr:]
		b = b[:min(len(b), 4096)]
		if n := bytes.IndexByte(b, 0); n >= 0 {
			return string(b[:n]), nil
		}
		return "", fmt.Errorf("no end to the string at %#x", addr)
	}
	return "", fmt.Errorf("no file contents at %#x", addr)
}

// Bytes returns the n bytes of file contents at a link-time virtual address
// (addresses of the per-CPU area, which start at 0, give its initial values).
// The slice is part of the image and must not be changed. It is an error if
// they do not lie in one segment's file contents.
func (im *Image) Bytes(addr uint64, n int) ([]byte, error) {
	if n < 0 {
		return nil, fmt.Errorf("read %d bytes of the image at %#x: negative size", n, addr)
	}
	for i := range im.segments {
		s := &im.segments[i]
		if addr < s.addr || addr-s.addr > uint64(len(s.data)) {
			continue
		}
		if off := addr - s.addr; uint64(n) <= uint64(len(s.data))-off {
			return s.data[off : off+uint64(n) : off+uint64(n)], nil
		}
	}
	return nil, fmt.Errorf("read %d bytes of the image at %#x: no file contents there", n, addr)
}

// Symbols is the kernel's own symbol table.
func (im *Image) Symbols() *SymbolTable { return im.symbols }

// Sections lists the allocated sections in file order.
func (im *Image) Sections() []ImageSection { return im.sections }

// Section finds a section by name.
func (im *Image) Section(name string) (ImageSection, bool) {
	for _, s := range im.sections {
		if s.Name == name {
			return s, true
		}
	}
	return ImageSection{}, false
}
