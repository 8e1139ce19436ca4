// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"

	"kmend/internal/nearest"
)

// FunctionList is the names of the functions of a kernel and its modules, for
// those who type them: out of the symbol tables, without what only the start or
// the end of a module runs, and without the suffixes of GCC's clones. A
// function that was inlined wherever it is used has no symbol and is not in it.
//
// It is kept as text, sorted by name, so that a look-up reads little of it:
// one line "NAME OBJECT[ OBJECT…]" a function, where an object is vmlinux or a
// module.
type FunctionList struct{ text []byte }

const (
	functionsFile = "functions"
	maxFunctions  = 1 << 28 // bytes; 6.1 with all modules of Debian has 8 MB
)

// Functions reads the list, and makes it first if the kernel has none yet or
// has been built anew; that takes a second or two. Progress is in modules, nil
// for none.
func (k *Kernel) Functions(ctx context.Context, progress func(done, total int)) (*FunctionList, error) {
	head, err := k.functionsHead()
	if err != nil {
		return nil, fmt.Errorf("list the functions of kernel %s: %w", k.Name, err)
	}
	path := filepath.Join(k.Dir, functionsFile)
	data, err := readFunctions(path)
	if err == nil && bytes.HasPrefix(data, head) {
		return &FunctionList{data[len(head):]}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the functions of kernel %s: %w", k.Name, err)
	}
	text, err := k.listFunctions(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("list the functions of kernel %s: %w", k.Name, err)
	}
	if err := writeFile(path, slices.Concat(head, text)); err != nil {
		return nil, fmt.Errorf("keep the functions of kernel %s: %w", k.Name, err)
	}
	return &FunctionList{text}, nil
}

// functionsHead is the first line of the file: what it was made of.
func (k *Kernel) functionsHead() ([]byte, error) {
	st, err := os.Stat(filepath.Join(k.ModulesDir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "kmend functions 1 %s %d %d\n", k.BuildID, st.Size(), st.ModTime().UnixNano()), nil
}

func readFunctions(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > maxFunctions {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d: delete it", path, st.Size(), maxFunctions)
	}
	data := make([]byte, st.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

// listFunctions reads all symbol tables.
func (k *Kernel) listFunctions(ctx context.Context, progress func(done, total int)) ([]byte, error) {
	im, err := k.Image()
	if err != nil {
		return nil, err
	}
	idx, err := k.moduleIndex()
	if err != nil {
		return nil, err
	}
	names := make([][]string, 1+len(idx.list)) // vmlinux, then the modules
	names[0] = im.functionNames()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range idx.list {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var err error
			names[1+i], err = m.functionNames()
			return err
		})
		if progress != nil && i%64 == 0 {
			progress(i, len(idx.list))
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	objects := map[string][]string{}
	for i, list := range names {
		object := "vmlinux"
		if i > 0 {
			object = idx.list[i-1].Name
		}
		slices.Sort(list)
		for _, n := range slices.Compact(list) {
			objects[n] = append(objects[n], object)
		}
	}
	lines := make([]string, 0, len(objects))
	for n, o := range objects {
		lines = append(lines, n+" "+strings.Join(o, " ")+"\n")
	}
	slices.Sort(lines) // a blank sorts before all that a name can have
	return []byte(strings.Join(lines, "")), nil
}

// functionName is the name in the source of a symbol of code, "" if it is none.
func functionName(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".") // .isra.0, .cold, …
	for _, p := range []string{"__pfx_", "__cfi_", "__SCT__", "__ksymtab"} {
		if strings.HasPrefix(name, p) {
			return ""
		}
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return ""
		}
	}
	return name
}

// functionNames are those of the image, with what lies in .text.
func (im *Image) functionNames() []string {
	text, _ := im.Section(".text")
	var out []string
	for _, s := range im.Symbols().All() {
		if !strings.ContainsRune("tTwW", rune(s.Type)) || s.Addr-text.Addr >= text.Size {
			continue
		}
		if n := functionName(s.Name); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// functionNames are those of a module.
func (m *Module) functionNames() ([]string, error) {
	var r io.ReaderAt
	if strings.HasSuffix(m.Path, ".ko") {
		f, err := os.Open(m.Path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	} else {
		b, err := m.Data()
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	names, err := readFunctionNames(r)
	if err != nil {
		return nil, fmt.Errorf("read the symbols of %s: %w", m.Path, err)
	}
	return names, nil
}

func readFunctionNames(r io.ReaderAt) (out []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged ELF file: %v", p)
		}
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	syms, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Section == elf.SHN_UNDEF || int(s.Section) >= len(f.Sections) {
			continue
		}
		if sec := f.Sections[s.Section].Name; strings.HasPrefix(sec, ".init") || strings.HasPrefix(sec, ".exit") {
			continue
		}
		if n := functionName(s.Name); n != "" {
			out = append(out, n)
		}
	}
	return out, nil
}

// Prefix calls do with the functions whose names begin with prefix, sorted,
// until it returns false. If object is not empty, only with those that it has.
func (l *FunctionList) Prefix(prefix, object string, do func(name string) bool) {
	object = strings.ReplaceAll(object, "-", "_") // as files of modules are called
	for rest := l.text[l.search(prefix):]; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if !bytes.HasPrefix(line, []byte(prefix)) {
			return
		}
		name, objects, _ := bytes.Cut(line, []byte(" "))
		if (object == "" || slices.Contains(strings.Fields(string(objects)), object)) && !do(string(name)) {
			return
		}
	}
}

// search is the offset of the first line that does not sort before prefix.
func (l *FunctionList) search(prefix string) int {
	at := sort.Search(len(l.text), func(i int) bool {
		start := bytes.LastIndexByte(l.text[:i], '\n') + 1
		end := min(len(l.text), start+len(prefix))
		return string(l.text[start:end]) >= prefix
	})
	return bytes.LastIndexByte(l.text[:at], '\n') + 1
}

// Near are up to n functions whose names look most like name.
func (l *FunctionList) Near(name string, n int) []string {
	s := nearest.NewSearch(name, n)
	for rest := l.text; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line, _, _ = bytes.Cut(line, []byte(" "))
		s.Offer(line)
	}
	return s.Names()
}
