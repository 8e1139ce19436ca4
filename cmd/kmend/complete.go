// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kmend/internal/definitions"
	"kmend/internal/impact/index"
	"kmend/internal/kernel"
	"kmend/internal/ui"
)

// completion answers the shell with what may stand in an argument's place.
type completion = func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completions are by the words that usage lines have for arguments. A command
// that uses these words has its arguments completed without doing anything
// for it; the first that a usage line has counts.
var completions = []struct {
	words string // as alternatives of a regular expression
	make  func(word string) completion
}{
	{`FUNC|FUNCTION`, func(string) completion { return completeFunctions }},
	{`KERNEL`, func(string) completion { return completeKernels }},
	{`UNIT\.c|FILE\.c`, func(string) completion { return completeSources }},
	{`debian:VERSION`, func(string) completion { return completeSpecs }},
	{`MODULE`, func(string) completion { return completeModules }},
	{`[A-Z]+\.patch`, func(string) completion { return completePatches }},
	{`[A-Z]+\.[a-z]+`, func(word string) completion { return completeFiles(path.Ext(word)[1:]) }},
	{`DIR|DIRECTORY`, func(string) completion { return completeDirs }},
	{`[A-Z]+`, func(string) completion { return nil }}, // some other file or word: the shell's own
}

// flagValue is a flag of a usage line with its value, which is no argument.
var flagValue = regexp.MustCompile(`-[a-z-]+[ =][A-Za-z.:]+`)

// completeByUsage gives c and its flags the completions that it does not have.
func completeByUsage(c *cobra.Command) {
	for flag, f := range map[string]completion{"kernel": completeKernels, "module": completeModules} {
		if c.Flags().Lookup(flag) != nil {
			if _, has := c.GetFlagCompletionFunc(flag); !has {
				_ = c.RegisterFlagCompletionFunc(flag, f)
			}
		}
	}
	if c.ValidArgsFunction != nil || len(c.ValidArgs) > 0 || !c.Runnable() || c.HasSubCommands() && c.Args == nil || c.DisableFlagParsing {
		return
	}
	_, usage, _ := strings.Cut(c.Use, " ")
	usage = flagValue.ReplaceAllString(usage, "")
	for _, k := range completions {
		if word := regexp.MustCompile(`(^|[^A-Za-z.:])(` + k.words + `)($|[^A-Za-z.])`).FindStringSubmatch(usage); word != nil {
			c.ValidArgsFunction = k.make(word[2])
			return
		}
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
}

func completeFiles(ext string) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{ext}, cobra.ShellCompDirectiveFilterFileExt
	}
}

func completeDirs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func completeColor(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return ui.Whens, noFiles
}

// completeSpecs offers where a kernel can come from.
func completeSpecs(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	if dir, ok := strings.CutPrefix(typed, "tree:"); ok {
		return dirsIn("tree:", dir), noFiles | cobra.ShellCompDirectiveNoSpace
	}
	out := []string{"tree:\ta kernel that you built"}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil && strings.HasSuffix(string(release), "-amd64\n") {
		out = append(out, "debian:"+strings.TrimSpace(string(release))+"\tthe running kernel")
	}
	return append(out, "debian:\ta stock Debian kernel"), noFiles | cobra.ShellCompDirectiveNoSpace
}

// dirsIn are the directories whose paths begin with typed, behind a lead.
func dirsIn(lead, typed string) []string {
	dir, base := filepath.Split(typed)
	entries, _ := os.ReadDir(filepath.Join(dir, ".")) // not there: nothing to offer
	var out []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), base) {
			out = append(out, lead+dir+e.Name()+"/")
		}
	}
	return out
}

// completedKernel is the kernel that a command line being typed means; where it
// means none, the shell shows why.
func completedKernel(c *cobra.Command) (*kernel.Kernel, []string) {
	name := ""
	if f := c.Flag("kernel"); f != nil {
		name = f.Value.String()
	}
	k, err := kernel.Open(name)
	if err != nil {
		return nil, cobra.AppendActiveHelp(nil, err.Error())
	}
	return k, nil
}

// completeModules offers the modules of the kernel.
func completeModules(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	k, help := completedKernel(c)
	if k == nil {
		return help, noFiles
	}
	var out []string
	for _, m := range k.Modules() {
		if strings.HasPrefix(m.Name, typed) {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return offer("", out, typed)
}

// completeSources offers C files of the kernel's source, by directories.
func completeSources(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	k, help := completedKernel(c)
	if k == nil {
		return help, noFiles
	}
	out, dirs := sourcesIn(k.SourceDir, typed, ".c")
	if dirs {
		return out, noFiles | cobra.ShellCompDirectiveNoSpace
	}
	return out, noFiles
}

// sourcesIn are the directories and files of a source tree whose paths begin
// with typed; dirs says whether there are directories among them.
func sourcesIn(root, typed string, exts ...string) (out []string, dirs bool) {
	dir, base := path.Split(typed)
	if !filepath.IsLocal(path.Join(dir, ".")) {
		return nil, false
	}
	entries, _ := os.ReadDir(filepath.Join(root, dir)) // not there: nothing to offer
	for _, e := range entries {
		switch n := e.Name(); {
		case !strings.HasPrefix(n, base) || n[0] == '.' && base == "":
		case e.IsDir():
			out, dirs = append(out, dir+n+"/"), true
		case slices.Contains(exts, path.Ext(n)):
			out = append(out, dir+n)
		}
	}
	return out, dirs
}

// completeFunctions offers what names a function: FUNC, OBJECT:FUNC or
// FILE.c:FUNC of the kernel, or those of an index if the command has one.
func completeFunctions(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	if f := c.Flag("index"); f != nil && f.Value.String() != "" {
		return indexedFunctions(f.Value.String(), typed)
	}
	for _, flag := range []string{"dumps", "dwarf"} { // to list those would take too long
		if f := c.Flag(flag); f != nil && f.Value.String() != "" {
			return nil, noFiles
		}
	}
	k, help := completedKernel(c)
	if k == nil {
		return help, noFiles
	}
	where, name := "", typed
	if i := strings.LastIndexByte(typed, ':'); i >= 0 {
		where, name = typed[:i], typed[i+1:]
	}
	switch ext := path.Ext(where); {
	case ext == ".c" || ext == ".h":
		return functionsOfFile(k, where, name)
	case where == "" && strings.Contains(name, "/"):
		out, _ := sourcesIn(k.SourceDir, name, ".c", ".h")
		for i, f := range out {
			if !strings.HasSuffix(f, "/") {
				out[i] = f + ":"
			}
		}
		return out, noFiles | cobra.ShellCompDirectiveNoSpace
	}
	list, err := k.Functions(c.Context(), nil)
	if err != nil {
		return cobra.AppendActiveHelp(nil, err.Error()), noFiles
	}
	lead := ""
	if where != "" {
		lead = where + ":"
	}
	var out []string
	list.Prefix(name, where, func(n string) bool {
		out = append(out, n)
		return true
	})
	return offer(lead, out, name)
}

// functionsOfFile offers what one file defines, by its text.
func functionsOfFile(k *kernel.Kernel, file, name string) ([]string, cobra.ShellCompDirective) {
	if !filepath.IsLocal(file) {
		return nil, noFiles
	}
	data, err := os.ReadFile(filepath.Join(k.SourceDir, file))
	if err != nil {
		return nil, noFiles
	}
	var out []string
	for _, n := range definitions.In(data) {
		if strings.HasPrefix(n, name) {
			out = append(out, n)
		}
	}
	return offer(file+":", out, name)
}

func indexedFunctions(file, typed string) ([]string, cobra.ShellCompDirective) {
	x, err := index.Open(file)
	if err != nil {
		return cobra.AppendActiveHelp(nil, err.Error()), noFiles
	}
	defer x.Close()
	names, err := x.NewQuery().Names(typed)
	if err != nil {
		return cobra.AppendActiveHelp(nil, err.Error()), noFiles
	}
	return offer("", names, typed)
}

// mostOffered bounds what is given to the shell, which takes long over many
// names, and the user longer.
const mostOffered = 400

// offer gives the shell sorted names that begin with typed, each behind a lead.
// Too many are offered by their beginnings, as directories are for paths: up to
// the next underscore, or if those are too many as well, the next letter. To
// leave some out would make the shell complete to what the others do not begin
// with.
func offer(lead string, names []string, typed string) ([]string, cobra.ShellCompDirective) {
	directive := noFiles
	if len(names) > mostOffered {
		byWord := func(n string) int { return strings.IndexByte(n[len(typed):], '_') + 1 }
		byLetter := func(n string) int { return min(1, len(n)-len(typed)) }
		stubs := beginnings(names, typed, byWord)
		if len(stubs) > mostOffered {
			stubs = beginnings(names, typed, byLetter)
		}
		names, directive = stubs, noFiles|cobra.ShellCompDirectiveNoSpace
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = lead + n
	}
	return out, directive
}

// beginnings cuts names behind so many bytes after what is typed, 0 for all.
func beginnings(names []string, typed string, next func(name string) int) []string {
	var out []string
	for _, n := range names {
		if i := next(n); i > 0 {
			n = n[:len(typed)+i]
		}
		if len(out) == 0 || out[len(out)-1] != n {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
