// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kmend/internal/run"
)

// Exports lists the symbols an object exports: those with a __ksymtab_ symbol
// (include/linux/export-internal.h; genksyms runs for an object that has any).
func Exports(obj []byte) (names []string, err error) {
	defer func() { // debug/elf is not hardened
		if p := recover(); p != nil {
			names, err = nil, fmt.Errorf("list exports: damaged ELF file: %v", p)
		}
	}()
	f, err := elf.NewFile(bytes.NewReader(obj))
	if err != nil {
		return nil, fmt.Errorf("list exports: %w", err)
	}
	syms, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list exports: %w", err)
	}
	for _, s := range syms {
		if n, ok := strings.CutPrefix(s.Name, "__ksymtab_"); ok && s.Section != elf.SHN_UNDEF {
			names = append(names, n)
		}
	}
	return names, nil
}

// CRC returns the version of each symbol that a unit exports, as kbuild computes
// it (scripts/Makefile.build, cmd_gensymtypes_c: preprocess with -D__GENKSYMS__,
// then scripts/genksyms). Use it only for objects with Exports, in a kernel with
// CONFIG_MODVERSIONS.
func (t *Tree) CRC(ctx context.Context, j Job) (map[string]uint32, error) {
	genksyms := filepath.Join(t.cfg.ObjDir, "scripts/genksyms/genksyms")
	st, err := os.Stat(genksyms)
	if err != nil {
		return nil, fmt.Errorf("compute symbol versions of %s: %w; the kernel has no CONFIG_MODVERSIONS or is not prepared", j.Command.Source, err)
	}
	key, err := t.compileKey(ctx, fmt.Sprintf("crc 1 %d %d", st.Size(), st.ModTime().UnixNano()), j)
	if err != nil {
		return nil, err
	}
	if files, m := t.cachedFiles(key); m != nil {
		var crcs map[string]uint32
		if json.Unmarshal(files["crc"], &crcs) == nil && crcs != nil {
			return crcs, nil
		}
	}
	release, err := t.Jobs.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	b, err := t.newBench(j)
	if err != nil {
		return nil, err
	}
	defer b.close()
	text, err := b.preprocess(ctx, "-D__GENKSYMS__")
	if err != nil {
		return nil, err
	}
	out, err := run.Run(ctx, run.Cmd{Argv: []string{genksyms, "-r", "/dev/null"}, Dir: t.cfg.ObjDir, Stdin: bytes.NewReader(text)})
	if err != nil {
		return nil, fmt.Errorf("compute symbol versions of %s: %w", j.Command.Source, err)
	}
	crcs, err := parseCRC(string(out.Stdout))
	if err != nil {
		return nil, fmt.Errorf("compute symbol versions of %s: %w", j.Command.Source, err)
	}
	if t.Cache != nil {
		if data, err := json.Marshal(crcs); err == nil {
			_ = t.storeFiles(key, b, meta{}, map[string][]byte{"crc": data}) // only costs time next time
		}
	}
	return crcs, nil
}

// preprocess runs the unit's command with -E instead of -c.
func (b *bench) preprocess(ctx context.Context, more ...string) ([]byte, error) {
	depFile, out := filepath.Join(b.dir, "deps"), filepath.Join(b.dir, "out.i")
	for {
		argv, err := b.argv(append(more, "-E", "-MD", "-MF", depFile, "-MT", "x", "-o", out)...)
		if err != nil {
			return nil, fmt.Errorf("preprocess %s: %w", b.job.Command.Source, err)
		}
		res, err := run.Run(ctx, run.Cmd{Argv: argv, Dir: b.farm.cwd})
		if err != nil {
			return nil, b.gccFailed(ctx, res, err)
		}
		deps, err := os.ReadFile(depFile)
		if err == nil {
			b.deps, err = parseDeps(string(deps))
		}
		again := false
		if err == nil {
			again, err = b.farm.stale(b.deps)
		}
		if err != nil {
			return nil, fmt.Errorf("preprocess %s: %w", b.job.Command.Source, err)
		}
		if !again {
			return os.ReadFile(out)
		}
	}
}

// parseCRC reads the output of genksyms: "#SYMVER name 0x…" since 6.1 (commit
// 7b4537199a4a), "__crc_name = 0x…;" before.
func parseCRC(s string) (map[string]uint32, error) {
	out := map[string]uint32{}
	for line := range strings.Lines(s) {
		var name, val string
		if f := strings.Fields(line); len(f) == 3 && f[0] == "#SYMVER" {
			name, val = f[1], f[2]
		} else if len(f) == 3 && f[1] == "=" && strings.HasPrefix(f[0], "__crc_") {
			name, val = strings.TrimPrefix(f[0], "__crc_"), strings.TrimSuffix(f[2], ";")
		} else if len(f) == 0 {
			continue
		} else {
			return nil, fmt.Errorf("read the output of genksyms: unexpected line %.80q", line)
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(val, "0x"), 16, 32)
		if err != nil {
			return nil, fmt.Errorf("read the output of genksyms: %w", err)
		}
		out[name] = uint32(n)
	}
	return out, nil
}
