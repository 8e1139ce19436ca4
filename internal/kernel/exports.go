// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Export is a symbol that modules may link to, as Module.symvers lists it.
type Export struct {
	Name      string
	CRC       uint32 // 0 if the kernel has no CONFIG_MODVERSIONS
	Object    string // "vmlinux" or the module's name, underscored
	GPL       bool
	Namespace string
}

// Export finds an exported symbol; false if it is not exported, or if
// Module.symvers cannot be read (see Exports for the error).
func (k *Kernel) Export(name string) (Export, bool) {
	m, err := k.Exports()
	if err != nil {
		return Export{}, false
	}
	e, ok := m[name]
	return e, ok
}

// Exports returns all exported symbols by name. The map must not be changed.
func (k *Kernel) Exports() (map[string]Export, error) {
	k.exportsOnce.Do(func() {
		data, err := os.ReadFile(k.Symvers)
		if err == nil {
			k.exports, err = parseSymvers(data)
		}
		if err != nil {
			k.exportsErr = fmt.Errorf("read exports of kernel %s: %s: %w", k.Name, k.Symvers, err)
		}
	})
	return k.exports, k.exportsErr
}

// parseSymvers reads Module.symvers (scripts/mod/modpost.c, read_dump): lines
// of CRC, symbol, object path, export type and, perhaps empty, namespace,
// separated by tabs.
func parseSymvers(data []byte) (map[string]Export, error) {
	m := make(map[string]Export, bytes.Count(data, []byte{'\n'}))
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte{'\n'})
		if len(line) == 0 {
			continue
		}
		f := strings.Split(string(line), "\t")
		if len(f) < 4 || len(f) > 5 || f[1] == "" || f[2] == "" {
			return nil, fmt.Errorf("line %d: %d fields where 4 or 5 are expected", n, len(f))
		}
		crc, err := strconv.ParseUint(strings.TrimPrefix(f[0], "0x"), 16, 32)
		if err != nil || !strings.HasPrefix(f[0], "0x") {
			return nil, fmt.Errorf("line %d: %q is not a CRC", n, f[0])
		}
		e := Export{Name: f[1], CRC: uint32(crc), Object: moduleName(f[2])}
		switch f[3] {
		case "EXPORT_SYMBOL":
		case "EXPORT_SYMBOL_GPL":
			e.GPL = true
		default:
			return nil, fmt.Errorf("line %d: %q is not an export type", n, f[3])
		}
		if len(f) == 5 {
			e.Namespace = f[4]
		}
		if prev, dup := m[e.Name]; dup && prev != e {
			return nil, fmt.Errorf("line %d: %s is exported twice, by %s and %s", n, e.Name, prev.Object, e.Object)
		}
		m[e.Name] = e
	}
	return m, nil
}

// exportTable decodes one __ksymtab section with its CRCs (struct
// kernel_symbol of kernel/module/internal.h with PREL32 relocations: three
// 32-bit self-relative offsets to value, name and namespace).
func (im *Image) exportTable(name string, gpl bool, out map[string]Export) error {
	syms, ok := im.Section("__ksymtab" + name)
	if !ok {
		return nil
	}
	if syms.Size%12 != 0 || syms.Size > 64<<20 {
		return fmt.Errorf("__ksymtab%s: its size %d is not a multiple of 12", name, syms.Size)
	}
	b, err := im.Bytes(syms.Addr, int(syms.Size))
	if err != nil {
		return err
	}
	var crcs []byte
	if s, ok := im.Section("__kcrctab" + name); ok {
		if s.Size != syms.Size/3 {
			return fmt.Errorf("__kcrctab%s has %d bytes for %d exports", name, s.Size, syms.Size/12)
		}
		if crcs, err = im.Bytes(s.Addr, int(s.Size)); err != nil {
			return err
		}
	}
	le := binary.LittleEndian
	at := func(off int) uint64 {
		return syms.Addr + uint64(off) + uint64(int64(int32(le.Uint32(b[off:]))))
	}
	for off := 0; off < len(b); off += 12 {
		e := Export{Object: "vmlinux", GPL: gpl}
		if e.Name, err = im.cString(at(off + 4)); err != nil {
			return fmt.Errorf("__ksymtab%s[%d]: %w", name, off/12, err)
		}
		if le.Uint32(b[off+8:]) != 0 {
			if e.Namespace, err = im.cString(at(off + 8)); err != nil {
				return fmt.Errorf("__ksymtab%s[%d]: %w", name, off/12, err)
			}
		}
		if crcs != nil {
			e.CRC = le.Uint32(crcs[off/3:])
		}
		out[e.Name] = e
	}
	return nil
}

// Exports decodes the exports of vmlinux with their CRCs out of the image.
func (im *Image) Exports() (map[string]Export, error) {
	m := make(map[string]Export)
	for _, t := range []struct {
		name string
		gpl  bool
	}{{"", false}, {"_gpl", true}} {
		if err := im.exportTable(t.name, t.gpl, m); err != nil {
			return nil, fmt.Errorf("exports of the image: %w", err)
		}
	}
	if len(m) == 0 {
		return nil, errors.New("exports of the image: it has none")
	}
	return m, nil
}

// checkExports proves that Module.symvers belongs to the image: every export
// of vmlinux is in both, with the same CRC, licence and namespace.
func checkExports(im *Image, symvers map[string]Export) error {
	have, err := im.Exports()
	if err != nil {
		return err
	}
	for name, e := range have {
		if s, ok := symvers[name]; !ok || s != e {
			return fmt.Errorf("check exports: Module.symvers does not fit the image: %s is %+v in the image and %+v in the file", name, e, s)
		}
	}
	for name, e := range symvers {
		if _, ok := have[name]; !ok && e.Object == "vmlinux" {
			return fmt.Errorf("check exports: Module.symvers does not fit the image: the image does not export %s", name)
		}
	}
	return nil
}
