// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// tree is what a build directory holds that matters here. Paths are relative
// to it, with slashes.
type tree struct {
	dir      string
	dumps    map[string]string // object file → its dump
	objects  map[string]bool
	texts    map[string]bool // *.s
	mods     []string        // *.mod: the objects of a module, one in a line (scripts/Makefile.build)
	archives []string        // *.a
	modules  []string        // *.ko
	vmlinux  bool
}

// dumpName is how GCC names a dump: object's name, source's extension, number
// of the pass (gcc/dumpfile.cc).
var dumpName = regexp.MustCompile(`^(.+)\.[a-zA-Z+]+\.\d{3}i\.ipa-clones$`)

// skipDirs hold programs that run during the build, not code of the kernel.
var skipDirs = map[string]bool{"scripts": true, "tools": true, "Documentation": true, ".git": true}

// walk lists a build directory.
func walk(ctx context.Context, dir string) (*tree, error) {
	t := &tree{dir: dir, dumps: map[string]string{}, objects: map[string]bool{}, texts: map[string]bool{}}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.IsDir() {
			if p != dir && skipDirs[d.Name()] {
				return fs.SkipDir
			}
			return nil
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, dir), string(filepath.Separator)))
		return t.note(rel, path.Ext(rel))
	})
	if err != nil {
		return nil, fmt.Errorf("search %s for dumps: %w", dir, err)
	}
	if len(t.dumps) == 0 {
		return nil, fmt.Errorf("search %s for dumps: there is no *.ipa-clones file; build the kernel with make KCFLAGS=-fdump-ipa-clones", dir)
	}
	sort.Strings(t.mods)
	sort.Strings(t.archives)
	sort.Strings(t.modules)
	return t, nil
}

func (t *tree) note(rel, ext string) error {
	switch ext {
	case ".ipa-clones":
		obj := strings.TrimSuffix(rel, ext) + ".o"
		if m := dumpName.FindStringSubmatch(path.Base(rel)); m != nil {
			obj = path.Join(path.Dir(rel), m[1]+".o")
		}
		if other, ok := t.dumps[obj]; ok {
			return fmt.Errorf("%s and %s are both dumps of %s: delete the one that is not of its compile", other, rel, obj)
		}
		t.dumps[obj] = rel
	case ".o":
		t.objects[rel] = true
	case ".s":
		t.texts[rel] = true
	case ".mod":
		t.mods = append(t.mods, rel)
	case ".a":
		t.archives = append(t.archives, rel)
	case ".ko":
		t.modules = append(t.modules, rel)
	case "":
		t.vmlinux = t.vmlinux || rel == "vmlinux"
	}
	return nil
}

// units lists the object files that have a dump, and those that have none and
// may need one, sorted.
func (t *tree) units() []string {
	var out []string
	for o := range t.dumps {
		// What kbuild compiles only to read constants out of the assembler code
		// (scripts/Makefile.build: %.s) is no part of the kernel.
		if t.objects[o] || !t.texts[strings.TrimSuffix(o, ".o")+".s"] {
			out = append(out, o)
		}
	}
	for o := range t.objects {
		if t.dumps[o] == "" && !strings.HasSuffix(o, ".mod.o") {
			out = append(out, o)
		}
	}
	slices.Sort(out)
	return out
}

// Vmlinux is the object that everything built in is linked into.
const Vmlinux = "vmlinux"

// links tells what each object file is linked into.
func (t *tree) links() (map[string]string, error) {
	out := map[string]string{}
	for _, a := range t.archives {
		data, err := readBounded(filepath.Join(t.dir, a), maxDump)
		if err != nil {
			return nil, err
		}
		for _, m := range archiveMembers(data) {
			// The name is relative to the archive, or to where ar was run.
			for _, p := range []string{path.Join(path.Dir(a), m), path.Clean(m)} {
				if t.objects[p] {
					out[p] = Vmlinux
					break
				}
			}
		}
	}
	for _, m := range t.mods {
		data, err := readBounded(filepath.Join(t.dir, m), maxDump)
		if err != nil {
			return nil, err
		}
		for _, o := range strings.Fields(string(data)) {
			if t.objects[o] && out[o] == "" {
				out[o] = moduleName(m)
			}
		}
	}
	for _, m := range t.modules {
		if o := strings.TrimSuffix(m, ".ko") + ".o"; t.objects[o] && out[o] == "" {
			out[o] = moduleName(m)
		}
	}
	return out, nil
}

// moduleName is the name of a module by one of its files (KBUILD_MODNAME).
func moduleName(p string) string {
	base := path.Base(p)
	return strings.ReplaceAll(strings.TrimSuffix(base, path.Ext(base)), "-", "_")
}

// archiveMembers lists the members of an archive as ar(5) has them. kbuild's
// are thin: only names, in the table "//".
func archiveMembers(data []byte) []string {
	thin := bytes.HasPrefix(data, []byte("!<thin>\n"))
	if !thin && !bytes.HasPrefix(data, []byte("!<arch>\n")) {
		return nil
	}
	data = data[8:]
	var long []byte
	var out []string
	for len(data) >= 60 {
		name := strings.TrimRight(string(data[:16]), " ")
		size, err := strconv.ParseUint(strings.TrimRight(string(data[48:58]), " "), 10, 40)
		if err != nil {
			return out
		}
		data = data[60:]
		own := name == "/" || name == "//" || name == "/SYM64/"
		if own || !thin {
			size = min(size, uint64(len(data)))
			body := data[:size]
			data = data[min(size+size&1, uint64(len(data))):]
			if name == "//" {
				long = body
			}
		}
		if !own {
			out = append(out, memberName(name, long))
		}
	}
	return out
}

// memberName resolves "/123" in the table of long names.
func memberName(name string, long []byte) string {
	if !strings.HasPrefix(name, "/") {
		return strings.TrimSuffix(name, "/")
	}
	// Behind the digits may come ":123", and GNU ar leaves a slash of the short name.
	digits := name[1:]
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	at, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || at >= uint64(len(long)) {
		return ""
	}
	rest, _, _ := bytes.Cut(long[at:], []byte("\n"))
	return strings.TrimSuffix(string(rest), "/")
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("read %s: %d bytes are more than the limit of %d", name, st.Size(), limit)
	}
	return os.ReadFile(name)
}
