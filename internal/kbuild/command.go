// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Unit is one translation unit of a kernel's configuration.
type Unit struct {
	Source  string   `json:"source"`        // relative to the source root: fs/proc/cmdline.c
	Object  string   `json:"object"`        // relative to the O= directory, as kbuild names it; can contain ".."
	Modules []string `json:"modules"`       // nil: built into vmlinux; else the modules it is linked into, '-' as '_'
	Lib     bool     `json:"lib,omitempty"` // in a lib.a: in vmlinux only if something needed it
}

// Command is how kbuild makes an object out of a C file.
type Command struct {
	Unit
	Gcc       []string `json:"gcc"`                 // the compile, run in the O= directory
	Objtool   []string `json:"objtool,omitempty"`   // run after it on the object; nil: not for this object
	Generated []string `json:"generated,omitempty"` // files in the O= directory that kbuild made for it
	Makefiles []stamp  `json:"makefiles"`           // what the command was made from, in the source tree
}

// NotBuiltError says that the kernel's configuration does not compile a file on
// its own.
type NotBuiltError struct {
	Source     string
	Why        string   // one clause
	IncludedBy []string // sources that #include it, if any were found near it
}

// Code is the stable name of this refusal.
func (e *NotBuiltError) Code() string { return "not-built" }

func (e *NotBuiltError) Error() string {
	s := fmt.Sprintf("find the compile command of %s: %s", e.Source, e.Why)
	if len(e.IncludedBy) > 0 {
		s += "; it is included by " + strings.Join(e.IncludedBy, ", ")
	}
	return s
}

// record is one object as trace.mk wrote it down.
type record struct {
	target, source, cmd               string
	prereqs, makefiles                []string
	builtin, lib, module, single, del bool
	multi                             []string
}

const maxTrace = 256 << 20

// parseTrace reads the output of trace.mk. Lists are returned under their
// directory-less entries as they stand.
func parseTrace(data string) (recs []record, lists []string, err error) {
	if len(data) > maxTrace {
		return nil, nil, errors.New("read kbuild's commands: too much output")
	}
	var cur *record
	for len(data) > 0 {
		line := data
		if i := strings.IndexByte(data, '\n'); i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data = ""
		}
		key, val, _ := strings.Cut(line, " ")
		if key == "target" {
			recs = append(recs, record{target: strings.TrimSpace(val)})
			cur = &recs[len(recs)-1]
			continue
		}
		if key == "list" {
			lists = append(lists, strings.Fields(val)...)
			continue
		}
		if key == "" {
			continue
		}
		if cur == nil {
			return nil, nil, fmt.Errorf("read kbuild's commands: unexpected line %.60q", line)
		}
		has := strings.TrimSpace(val) != ""
		switch key {
		case "source":
			cur.source = strings.TrimSpace(val)
		case "prereqs":
			cur.prereqs = strings.Fields(val)
		case "makefiles":
			cur.makefiles = strings.Fields(val)
		case "builtin":
			cur.builtin = has
		case "lib":
			cur.lib = has
		case "module":
			cur.module = has
		case "single":
			cur.single = has
		case "multi":
			cur.multi = strings.Fields(val)
		case "delayed":
			cur.del = has
		case "cmd":
			cur.cmd = val
		case "end":
			cur = nil
		default:
			return nil, nil, fmt.Errorf("read kbuild's commands: unexpected line %.60q", line)
		}
	}
	if cur != nil {
		return nil, nil, fmt.Errorf("read kbuild's commands: the record of %s is cut off", cur.target)
	}
	return recs, lists, nil
}

// command turns a record into a Command; nil when the object is in no list of
// the configuration.
func (t *Tree) command(r record) (*Command, error) {
	if !r.builtin && !r.lib && !r.module {
		return nil, nil
	}
	src, ok := t.sourceRel(r.source)
	if !ok {
		return nil, fmt.Errorf("find the compile command of %s: its source %s is generated, not part of the source tree", r.target, r.source)
	}
	c := &Command{Unit: Unit{Source: src, Object: r.target, Lib: r.lib && !r.builtin}}
	if r.module && !r.builtin {
		for _, m := range r.multi {
			c.Modules = append(c.Modules, moduleName(m))
		}
		if r.single {
			c.Modules = append(c.Modules, moduleName(r.target))
		}
		slices.Sort(c.Modules)
		c.Modules = slices.Compact(c.Modules)
		if len(c.Modules) == 0 {
			return nil, fmt.Errorf("find the compile command of %s: cannot tell which module it belongs to", src)
		}
	}
	cmds, err := splitShell(r.cmd)
	if err != nil {
		return nil, fmt.Errorf("read the compile command of %s: %w: %.200s", src, err, r.cmd)
	}
	if len(cmds) == 0 || len(cmds) > 2 {
		return nil, fmt.Errorf("read the compile command of %s: %d commands instead of a compile and objtool", src, len(cmds))
	}
	c.Gcc = cmds[0]
	if len(cmds) == 2 {
		c.Objtool = cmds[1]
		if path.Base(c.Objtool[0]) != "objtool" || c.Objtool[len(c.Objtool)-1] != r.target {
			return nil, fmt.Errorf("read the compile command of %s: unknown second command %s", src, c.Objtool[0])
		}
	} else if r.del {
		return nil, fmt.Errorf("find the compile command of %s: this configuration runs objtool on linked objects only (CONFIG_X86_KERNEL_IBT or LTO), which is not supported", src)
	}
	for _, p := range r.prereqs {
		if p != r.source && p != "FORCE" && !filepath.IsAbs(p) {
			c.Generated = append(c.Generated, p)
		}
	}
	if c.Makefiles, err = t.makefileStamps(r.makefiles, src); err != nil {
		return nil, fmt.Errorf("find the compile command of %s: %w", src, err)
	}
	return c, c.check()
}

// makefileStamps notes the state of the makefiles of the last make, and of those
// in the directories above, whose subdir-ccflags-y reach down.
func (t *Tree) makefileStamps(files []string, source string) ([]stamp, error) {
	for dir := path.Dir(source); ; dir = path.Dir(dir) {
		for _, n := range []string{"Kbuild", "Makefile"} {
			p := filepath.Join(t.cfg.SourceDir, dir, n)
			if _, err := os.Stat(p); err == nil {
				files = append(files, p)
			}
		}
		if dir == "." {
			break
		}
	}
	for i, f := range files {
		if !filepath.IsAbs(f) {
			files[i] = filepath.Join(t.cfg.ObjDir, f)
		}
	}
	slices.Sort(files)
	return stampFiles(slices.Compact(files))
}

// check finds the parts of the command that Compile replaces.
func (c *Command) check() error {
	o := slices.Index(c.Gcc, "-o")
	if o < 0 || o+1 >= len(c.Gcc) || c.Gcc[o+1] != c.Object || !slices.Contains(c.Gcc, "-c") || !strings.HasSuffix(c.Gcc[len(c.Gcc)-1], ".c") {
		return fmt.Errorf("read the compile command of %s: not of the form gcc … -c -o OBJECT SOURCE", c.Source)
	}
	return nil
}

func moduleName(obj string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(obj), ".o"), "-", "_")
}

// sourceRel turns a path of a command (absolute, or relative to the O= directory)
// into one relative to the source root.
func (t *Tree) sourceRel(p string) (string, bool) {
	if !filepath.IsAbs(p) {
		p = filepath.Join(t.cfg.ObjDir, p)
	}
	rel, err := filepath.Rel(t.cfg.SourceDir, filepath.Clean(p))
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}
