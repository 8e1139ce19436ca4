// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// skippedDirs have no code of an x86 kernel.
var skippedDirs = []string{"Documentation", "LICENSES", "tools", "samples", "debian", "scripts", "usr"}

func skippedDir(rel string) bool {
	dir, base := path.Split(rel)
	return slices.Contains(skippedDirs, rel) || base == ".git" || dir == "arch/" && base != "x86"
}

// maxSource bounds one file; the largest headers, of registers, have 25 MB.
const maxSource = 64 << 20

// Find finds the C files and headers below root that may define each of
// the functions, relative to root and sorted. It reads text, not C: what a
// macro makes it does not find, but for system calls, and what an #if leaves out
// it does find.
func Find(ctx context.Context, root string, names []string, progress func(done, total int)) (map[string][]string, error) {
	files, err := sources(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("search the source for definitions: %w", err)
	}
	out := map[string][]string{}
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(files, 512) {
		g.Go(func() error {
			var buf []byte
			for _, f := range part {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				data, err := read(filepath.Join(root, f), buf)
				if err != nil {
					return err
				}
				buf = data
				for _, n := range names {
					if defines(data, n) {
						mu.Lock()
						out[n] = append(out[n], f)
						mu.Unlock()
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if done += len(part); progress != nil {
				progress(done, len(files))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("search the source for definitions: %w", err)
	}
	for n := range out {
		slices.Sort(out[n])
	}
	return out, nil
}

func sources(ctx context.Context, root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, root), string(filepath.Separator)))
		if d.IsDir() {
			if rel != "" && skippedDir(rel) {
				return fs.SkipDir
			}
			return nil
		}
		if ext := path.Ext(rel); d.Type().IsRegular() && (ext == ".c" || ext == ".h") {
			out = append(out, rel)
		}
		return nil
	})
	return out, err
}

// read reads a file into buf, or a larger one.
func read(name string, buf []byte) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > maxSource {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, st.Size(), maxSource)
	}
	if int64(cap(buf)) < st.Size() {
		buf = make([]byte, st.Size()*2)
	}
	buf = buf[:cap(buf)]
	n := 0
	for n < len(buf) {
		k, err := f.Read(buf[n:min(len(buf), maxSource)])
		n += k
		if k == 0 || err != nil {
			break
		}
	}
	if int64(n) < st.Size() {
		return nil, fmt.Errorf("read %s: %d of %d bytes; it changes while it is read", name, n, st.Size())
	}
	return buf[:n], nil
}

// defines reports whether a source file may define a function.
func defines(data []byte, name string) bool { return definition(data, name) >= 0 }

// In lists the functions that a source file may define, sorted, by the same
// reading of its text as Find. System calls are sys_NAME, as the source knows
// them.
func In(data []byte) []string {
	var out []string
	for at := 0; at < len(data); {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i
		}
		if open := bytes.IndexByte(data[at:end], '('); open > 0 && isIdent(data[at]) {
			stop := at + len(bytes.TrimRight(data[at:at+open], " \t"))
			start := stop
			for start > at && isIdent(data[start-1]) {
				start--
			}
			name := string(data[start:stop])
			if args, ok := strings.CutPrefix(name, "SYSCALL_DEFINE"); ok && len(args) == 1 {
				call, _, _ := bytes.Cut(data[at+open+1:end], []byte(","))
				name = "sys_" + string(bytes.Trim(call, " \t)"))
			}
			if name != strings.ToUpper(name) && isDefinition(data, start, stop-start) {
				out = append(out, name)
			}
		}
		at = end + 1
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// syscall is the name that SYSCALL_DEFINE was given for a function that it
// makes (include/linux/syscalls.h, arch/x86/include/asm/syscall_wrapper.h).
func syscall(name string) (call string, ok bool) {
	for _, p := range []string{"__do_", "__se_", "__x64_", "__ia32_", ""} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			for _, q := range []string{"compat_sys_", "sys_"} {
				if call, ok := strings.CutPrefix(rest, q); ok {
					return call, true
				}
			}
		}
	}
	return "", false
}

// syscallDefinition is where the name of a system call's definition ends, -1 if
// there is none.
func syscallDefinition(data []byte, call string) int {
	const macro = "SYSCALL_DEFINE"
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(macro))
		if i < 0 {
			return -1
		}
		at += i + len(macro)
		rest := data[at:min(len(data), at+len(call)+16)]
		if len(rest) < 3 || rest[0] < '0' || rest[0] > '6' || rest[1] != '(' {
			continue
		}
		arg := bytes.TrimLeft(rest[2:], " \t")
		if bytes.HasPrefix(arg, []byte(call)) && (len(arg) == len(call) || !isIdent(arg[len(call)])) {
			return at
		}
	}
}

func isIdent(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isDefinition reports whether the name at an offset is that of a function
// being defined, in the kernel's style: the line begins in column 0, parameters
// follow in parentheses, and then a body.
func isDefinition(data []byte, at, n int) bool {
	if at > 0 && isIdent(data[at-1]) || at+n >= len(data) || isIdent(data[at+n]) {
		return false
	}
	line := bytes.LastIndexByte(data[:at], '\n') + 1
	if c := data[line]; !isIdent(c) {
		return false // a call, a comment, a directive
	}
	if bytes.ContainsAny(data[line:at], "=;\"{}") {
		return false
	}
	i := skipSpace(data, at+n)
	if i >= len(data) || data[i] != '(' {
		return false
	}
	if i = skipParens(data, i); i < 0 {
		return false
	}
	// Attributes may come between.
	for {
		i = skipSpace(data, i)
		switch {
		case i >= len(data):
			return false
		case data[i] == '{':
			return true
		case data[i] == '(':
			if i = skipParens(data, i); i < 0 {
				return false
			}
		case isIdent(data[i]):
			for i < len(data) && isIdent(data[i]) {
				i++
			}
		default:
			return false
		}
	}
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// skipParens is the place behind the parenthesis that closes the one at i; -1
// if there is none near.
func skipParens(data []byte, i int) int {
	const far = 8 << 10
	depth := 0
	for end := min(len(data), i+far); i < end; i++ {
		switch data[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		case ';', '{', '}':
			return -1
		}
	}
	return -1
}
