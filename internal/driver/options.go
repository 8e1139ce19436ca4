// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/nearest"
)

// The options that are kmend's own.
const (
	levelOption = "-flive-patching"
	listOption  = "-flive-patch-list"
)

// UsageError says what is wrong with a command line.
type UsageError struct{ Reason string }

func (e *UsageError) Error() string { return e.Reason }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Command is a command line of a compiler, understood.
type Command struct {
	Args    []string // what the real compiler gets, but for the level's flags
	LevelAt int      // where in Args these belong
	Level   compiler.Level
	List    *List // nil: no list is asked for

	Sources []Source
	Output  string // -o; "" if not given
	Compile bool   // -c
	Mode    string // the option that makes it stop before there is an object (-E, -S, -M, --version, …), or ""

	last map[string]string // -fNAME and -fno-NAME: the last one given, by name without no-
	bits string            // -m16, -m32, -mx32: code that is not that of the kernel proper
	own  []string          // -fdump-… of the user's own
}

// Source is an input file.
type Source struct {
	Name string
	Lang string // of -x, or "" for that of the suffix
}

// isC reports whether the source is C, which lists are made for.
func (s Source) isC() bool {
	switch s.Lang {
	case "c", "cpp-output":
		return true
	case "", "none":
		ext := filepath.Ext(s.Name)
		return ext == ".c" || ext == ".i"
	}
	return false
}

// isCode reports whether the compiler proper would see the source: it is in a
// language that functions are compiled from, other than assembler.
func (s Source) isCode() bool {
	switch s.Lang {
	case "", "none":
		return slices.Contains([]string{".c", ".i", ".cc", ".cp", ".cxx", ".cpp", ".c++", ".C", ".ii", ".m", ".mi", ".mm"}, filepath.Ext(s.Name))
	}
	return !strings.HasPrefix(s.Lang, "assembler") && !strings.HasSuffix(s.Lang, "-header")
}

// separate are the options of GCC and Clang whose value is the next argument
// if nothing follows their name (gcc/common.opt, c.opt: Separate).
var separate = []string{
	"-o", "-x", "-I", "-D", "-U", "-A", "-B", "-L", "-l", "-T", "-u", "-z", "-e", "-G",
	"-MF", "-MT", "-MQ", "-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-iprefix",
	"-iwithprefix", "-iwithprefixbefore", "-isysroot", "-imultilib", "-imultiarch",
	"-Xpreprocessor", "-Xassembler", "-Xlinker", "-Xclang", "-mllvm", "-aux-info", "-dumpbase",
	"-dumpbase-ext", "-dumpdir", "--param", "-wrapper", "-specs", "--sysroot", "-target", "-arch",
	"--output", "--include", "--define-macro", "--undefine-macro",
}

// modes are the options with which no object is made.
var modes = []string{"-E", "-S", "-M", "-MM", "-fsyntax-only", "-###", "--version", "-dumpversion", "-dumpfullversion",
	"-dumpmachine", "-dumpspecs", "--help", "--target-help"}

// Parse reads a command line. Errors are of the type *UsageError.
func Parse(args []string) (*Command, error) {
	words, err := expand(args)
	if err != nil {
		return nil, usagef("%v", err)
	}
	c := &Command{LevelAt: -1, last: map[string]string{}}
	p := &parser{c: c}
	inFile := false
	var texts []string
	for _, w := range words {
		texts = append(texts, w.text)
		inFile = inFile || w.fromFile && isOurs(w.text)
	}
	if err := p.parse(texts); err != nil {
		return nil, err
	}
	if !inFile {
		texts = args // response files are handed on as they are
	}
	for _, a := range texts {
		if !isOurs(a) {
			c.Args = append(c.Args, a)
		} else if c.LevelAt < 0 && !strings.HasPrefix(a, listOption) {
			c.LevelAt = len(c.Args)
		}
	}
	c.LevelAt = max(c.LevelAt, 0) // without a level there is nothing to place
	return c, c.check()
}

// isOurs reports whether an argument is one of kmend's own options, or was
// meant to be.
func isOurs(arg string) bool { return strings.HasPrefix(arg, "-flive-patch") }

// parser is the state of Parse.
type parser struct {
	c     *Command
	level string // the argument that set the level
	lang  string // of -x, for the sources that follow
}

func (p *parser) parse(args []string) error {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if slices.Contains(separate, a) && i+1 < len(args) {
			i++
			p.value(a, args[i])
			continue
		}
		var err error
		switch {
		case isOurs(a):
			err = p.ours(a)
		case a == "-" || !strings.HasPrefix(a, "-"):
			p.c.Sources = append(p.c.Sources, Source{a, p.lang})
		default:
			p.option(a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// value notes an option with its value.
func (p *parser) value(option, value string) {
	switch option {
	case "-o", "--output":
		p.c.Output = value
	case "-x":
		p.lang = value
	}
}

// option notes an option of the compiler's.
func (p *parser) option(a string) {
	c := p.c
	switch {
	case a == "-c":
		c.Compile = true
	case slices.Contains(modes, a), strings.HasPrefix(a, "-print-"), strings.HasPrefix(a, "--print-"), strings.HasPrefix(a, "--help="):
		c.Mode = a
	case strings.HasPrefix(a, "-o"):
		c.Output = a[2:]
	case strings.HasPrefix(a, "--output="):
		c.Output = strings.TrimPrefix(a, "--output=")
	case strings.HasPrefix(a, "-x"):
		p.lang = a[2:]
	case a == "-m16", a == "-m32", a == "-mx32":
		c.bits = a
	case a == "-m64":
		c.bits = ""
	case strings.HasPrefix(a, "-fdump-"):
		c.own = append(c.own, a)
	case strings.HasPrefix(a, "-f"):
		name, _, _ := strings.Cut(strings.TrimPrefix(a[2:], "no-"), "=")
		c.last[name] = a
	}
}

// ours takes one of kmend's own options.
func (p *parser) ours(a string) error {
	name, value, valued := strings.Cut(a, "=")
	switch {
	case name == listOption && valued:
		return p.c.addList(value)
	case name == listOption:
		return usagef("%s: for which function? It is written %s={FUNC|all}[,facts][,json][,FILE]", a, listOption)
	case name != levelOption:
		return usagef("unknown option %.60q%s", a, nearest.DidYouMean(name, []string{levelOption, listOption}))
	case !valued:
		value = compiler.InlineClone.String() // as GCC takes it
	}
	level, err := compiler.ParseLevel(value)
	if err != nil {
		return usagef("%s: %v", a, err)
	}
	if p.level != "" && level != p.c.Level {
		return usagef("%s contradicts %s: give one level", a, p.level)
	}
	p.level, p.c.Level = a, level
	return nil
}

// check finds what contradicts itself.
func (c *Command) check() error {
	for _, name := range sortedKeys(c.last) {
		a := c.last[name]
		if why := c.Level.Conflict(a); why != "" {
			return usagef("%s cannot go with %s=%v: %s; leave one of them out", a, levelOption, c.Level, why)
		}
	}
	if c.List == nil {
		return nil
	}
	if a := c.last["lto"]; a != "" && a != "-fno-lto" {
		return usagef("%s cannot go with %s: the object that it makes holds no code yet", listOption, a)
	}
	return c.checkList()
}

// checkList finds where a list makes no sense. Where the command makes no code
// at all it is no error, since a build gives its flags to every command:
// NoList says so.
func (c *Command) checkList() error {
	if c.NoList() != "" {
		return nil
	}
	var code []string
	for _, s := range c.Sources {
		if s.isCode() {
			code = append(code, s.Name)
		}
		if s.isCode() && !s.isC() {
			return usagef("%s of %s: lists are made for C only", listOption, s.Name)
		}
	}
	switch {
	case !c.Compile:
		return usagef("%s needs -c: a list belongs to the object of one source, and this command links", listOption)
	case len(code) > 1:
		return usagef("%s with several sources (%s): compile one at a time, each to its own object", listOption, strings.Join(code, ", "))
	}
	return nil
}

// NoList says why there can be no list of this command, since it leaves no
// object with compiled code; "" if there can be one.
func (c *Command) NoList() string {
	code, null := 0, 0
	for _, s := range c.Sources {
		if s.isCode() {
			code++
		}
		if s.Name == "/dev/null" {
			null++
		}
	}
	switch {
	case c.Mode != "":
		return c.Mode + " makes no object"
	case code == 0:
		return "no source is compiled"
	case c.bits != "":
		return c.bits + " makes code for boot or user space, which no live patch reaches" // the 32-bit vDSO
	case null == len(c.Sources):
		return "the source is /dev/null"
	case c.Output == "/dev/null":
		return "the object goes to /dev/null"
	}
	return ""
}

// Object is where the object of the one source goes.
func (c *Command) Object() string {
	if c.Output != "" {
		return c.Output
	}
	for _, s := range c.Sources {
		if s.isCode() {
			base := filepath.Base(s.Name)
			return strings.TrimSuffix(base, filepath.Ext(base)) + ".o"
		}
	}
	return ""
}

// source is the one source that is compiled.
func (c *Command) source() string {
	for _, s := range c.Sources {
		if s.isCode() {
			return s.Name
		}
	}
	return ""
}

// With is the command line with the flags of its level.
func (c *Command) With(level []string) []string {
	return slices.Insert(slices.Clone(c.Args), c.LevelAt, level...)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
