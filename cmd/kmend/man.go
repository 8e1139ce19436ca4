// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kmend/internal/manpage"
)

// A command can add to these sections of its page by annotations, in the form
// of a help text's lists: "  NAME  what it is for".
const (
	manEnvironment = "environment"
	manFiles       = "files"
)

// commonEnvironment and commonFiles are what every command looks at. Tests hold
// the first against what the source asks the environment for.
const (
	commonEnvironment = `
  NO_COLOR        if set and not empty, no colour; --color goes before it
  TERM            dumb: progress as plain lines and no colour, as in a log
  XDG_CACHE_HOME  where the directory kmend of what can be made again lies; ~/.cache if not set
  HOME            the home directory
  PATH            where compilers and tools are looked for
  TMPDIR          where temporary files lie; /tmp if not set`
	ccEnvironment = `
  KMEND_CC             the real compiler as a command, such as "ccache gcc-12"
  KMEND_CLANG_NEAREST  1: take the flags that come nearest to a level that Clang cannot keep
  CCACHE_DISABLE       if set and not empty, ccache is not used`
	commonFiles = `
  ~/.cache/kmend/kernels    the kernels that were added, one directory each
  ~/.cache/kmend/downloads  packages of kernels
  ~/.cache/kmend/objects    what was compiled, by content
  ~/.cache/kmend/indexes    indexes of builds`
)

// manPage makes the manual page of a command out of its help.
func manPage(c *cobra.Command, date string) *manpage.Page {
	p := &manpage.Page{Name: manName(c), Date: date, Source: "kmend " + version, Manual: "kmend manual"}
	add := func(title string, blocks ...manpage.Block) {
		if len(blocks) > 0 {
			p.Sections = append(p.Sections, manpage.Section{Title: title, Blocks: blocks})
		}
	}
	add("NAME", manpage.Block{Text: p.Name + " - " + lowerFirst(c.Short)})
	add("SYNOPSIS", synopsis(c)...)
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	add("DESCRIPTION", manpage.Parse(long)...)
	add("COMMANDS", subcommands(c)...)
	if !c.DisableFlagParsing {
		add("OPTIONS", options(c.NonInheritedFlags())...)
		add("GLOBAL OPTIONS", options(c.InheritedFlags())...)
	}
	if c.Example != "" {
		add("EXAMPLES", manpage.Block{Lines: manpage.Dedent(strings.Split(strings.Trim(c.Example, "\n"), "\n"))})
	}
	_, status, _ := strings.Cut(exitStatusHelp, "\n")
	add("EXIT STATUS", manpage.Parse(status)...)
	add("ENVIRONMENT", manpage.Parse(strings.TrimPrefix(commonEnvironment, "\n")+"\n"+strings.Trim(c.Annotations[manEnvironment], "\n"))...)
	add("FILES", manpage.Parse(strings.TrimPrefix(commonFiles, "\n")+"\n"+strings.Trim(c.Annotations[manFiles], "\n"))...)
	add("SEE ALSO", manpage.Block{Text: seeAlso(c)})
	return p
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// lowerFirst makes a sentence what stands behind a name in the list of pages.
func lowerFirst(s string) string {
	if len(s) > 1 && strings.ToUpper(s[1:2]) == s[1:2] { // DWARF, GCC
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func synopsis(c *cobra.Command) []manpage.Block {
	line := func(c *cobra.Command, rest string) manpage.Block {
		return manpage.Block{Text: manpage.Mark + c.CommandPath() + manpage.Mark + rest}
	}
	var out []manpage.Block
	if runsItself(c) {
		rest := strings.TrimPrefix(c.UseLine(), c.CommandPath())
		out = append(out, line(c, rest))
	}
	if c.HasAvailableSubCommands() {
		out = append(out, line(c, " COMMAND [ARGUMENTS] [flags]"))
	}
	return out
}

// runsItself says whether a command does something without one below it.
func runsItself(c *cobra.Command) bool { return c.Runnable() && c.Annotations[groupOnly] == "" }

func subcommands(c *cobra.Command) []manpage.Block {
	var terms []manpage.Term
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			terms = append(terms, manpage.Term{Name: sub.CommandPath(), Text: sub.Short + "; see " + manpage.Mark + manName(sub) + manpage.Mark + "(1)"})
		}
	}
	if terms == nil {
		return nil
	}
	return []manpage.Block{{Terms: terms}}
}

// options lists flags as the help does, what they take and what they are by
// themselves.
func options(flags *pflag.FlagSet) []manpage.Block {
	var terms []manpage.Term
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + manpage.Mark + value + manpage.Mark
		}
		if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "[]" && !strings.Contains(usage, "default") {
			usage += " (default: " + d + ")"
		}
		terms = append(terms, manpage.Term{Name: name, Text: usage})
	})
	if terms == nil {
		return nil
	}
	return []manpage.Block{{Terms: terms}}
}

var namedCommand = regexp.MustCompile(`kmend((?: [a-z]+)+)`)

// seeAlso names the command above, those below, and those that its help names.
func seeAlso(c *cobra.Command) string {
	root := c.Root()
	var names []string
	add := func(o *cobra.Command) {
		if n := manName(o); o != c && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if c.HasParent() {
		add(root)
		add(c.Parent())
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			add(sub)
		}
	}
	for _, m := range namedCommand.FindAllStringSubmatch(c.Long+"\n"+c.Example, -1) {
		if o, _, err := root.Find(strings.Fields(m[1])); err == nil && o != root && o.IsAvailableCommand() {
			add(o)
		}
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = fmt.Sprintf("%s%s%s(1)", manpage.Mark, n, manpage.Mark)
	}
	return strings.Join(names, ", ")
}
