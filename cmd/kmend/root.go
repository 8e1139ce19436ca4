// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kmend/internal/ui"
)

// version is the release in the making; CHANGELOG.md has what is in it.
const version = "0.1.0-dev"

// revision is the commit it was built from; the Makefile sets it.
var revision string

// app is what every command is given: where to print and how. It is complete
// when a command's RunE is called.
type app struct {
	Out io.Writer // answers
	Err io.Writer // progress, logs, errors

	JSON    bool // answer with one JSON document on Out: see PrintJSON
	Color   ui.When
	Verbose bool
	Quiet   bool

	Progress ui.Progress  // on Err; shows nothing with -q
	Style    ui.Style     // for what is printed on Out
	Log      *slog.Logger // on Err

	started  bool // a command's own code runs: errors are no longer usage errors
	answered bool // PrintJSON has printed its document
}

// run is main without the process: it parses args, runs the command and
// returns the exit code.
func run(ctx context.Context, args []string, out, errw io.Writer) (code int) {
	defer reportBug(errw, &code)
	a := &app{Out: out, Err: errw, Color: ui.Auto, Progress: ui.Discard(), Log: slog.New(slog.DiscardHandler)}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var ee *exitError
	if err != nil && !a.started && !errors.As(err, &ee) {
		a.JSON = a.JSON || wantsJSON(args) // flags may not have been parsed
		err = &exitError{exitUsage, fmt.Errorf("%w\n%s", err, usageHint(root, args))}
	}
	return a.finish(err)
}

// reportBug is deferred by what must not end with Go's own exit code for a
// panic, 2, which is usage.
func reportBug(errw io.Writer, code *int) {
	if r := recover(); r != nil {
		ui.Say(errw, fmt.Sprintf("kmend: bug: %v\nplease report this with all that follows\n%s", r, bytes.TrimSpace(debug.Stack())))
		*code = exitFailed
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "kmend",
		Short: "Fix a running Linux kernel with live patches",
		Long: `kmend makes live patches for a running Linux kernel out of source fixes,
proves them against the kernel that runs, and tests them in a virtual machine.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionText(),
		PersistentPreRun: func(*cobra.Command, []string) {
			a.setUp()
		},
	}
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetVersionTemplate("kmend {{.Version}}\n")
	f := root.PersistentFlags()
	f.BoolVar(&a.JSON, "json", false, "answer with one JSON document on standard output")
	f.Var(&a.Color, "color", "colour: auto (on a terminal, unless the environment variable NO_COLOR is set), always or never")
	f.BoolFunc("no-color", "the same as --color=never", a.noColor)
	f.BoolVarP(&a.Verbose, "verbose", "v", false, "log what is done, and whole error logs")
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "no progress")
	_ = root.RegisterFlagCompletionFunc("color", completeColor)
	root.MarkFlagsMutuallyExclusive("verbose", "quiet")
	for _, c := range commands {
		root.AddCommand(c(a))
	}
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion", "powershell"}); err == nil && c.Name() == "powershell" {
		c.Parent().RemoveCommand(c) // not a shell of a Debian
	}
	root.SetHelpCommand(newHelpCmd(root))
	root.InitDefaultHelpCmd()
	a.prepare(root)
	return root
}

// setUp makes what depends on the global flags.
func (a *app) setUp() {
	level := slog.LevelWarn
	if a.Verbose {
		level = slog.LevelDebug
	}
	if !a.Quiet {
		a.Progress = ui.NewProgress(a.Err)
	}
	a.Style = ui.NewStyle(a.Out, a.Color)
	a.Log = slog.New(slog.NewTextHandler(&lineWriter{a}, &slog.HandlerOptions{Level: level}))
}

// noColor is the flag --no-color.
func (a *app) noColor(value string) error {
	on, err := strconv.ParseBool(value)
	if err == nil && on {
		a.Color = ui.Never
	}
	return err
}

// lineWriter sends log lines past the progress line.
type lineWriter struct{ a *app }

func (w *lineWriter) Write(b []byte) (int, error) {
	if w.a.Quiet {
		return w.a.Err.Write(b)
	}
	w.a.Progress.Line(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// prepare gives c and the commands below it what all commands share.
func (a *app) prepare(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	c.SetHelpTemplate(`{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}
` + exitStatusHelp)
	c.SuggestionsMinimumDistance = 2
	completeByUsage(c)
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = needsSubcommand
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		c.Annotations[groupOnly] = "yes"
	}
	if runE := c.RunE; runE != nil && !(c.HasSubCommands()) {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return runE(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.prepare(sub)
	}
}

// groupOnly is the annotation of commands that only have others below them.
const groupOnly = "group"

// needsSubcommand is what a command does that only has commands below it.
func needsSubcommand(c *cobra.Command, args []string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if len(args) == 0 {
		return fmt.Errorf("a command is missing after %q, one of: %s", c.CommandPath(), strings.Join(names, ", "))
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("no command %q after %q: did you mean %s?", args[0], c.CommandPath(), strings.Join(near, " or "))
	}
	return fmt.Errorf("no command %q after %q, which has: %s", args[0], c.CommandPath(), strings.Join(names, ", "))
}

// flagError adds the nearest flags to pflag's "unknown flag", as cobra does for
// commands.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	flags := &cobra.Command{SuggestionsMinimumDistance: 2}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	near := flags.SuggestionsFor(unknown.GetSpecifiedName())
	if len(near) == 0 {
		return err
	}
	return fmt.Errorf("%w: did you mean --%s?", err, strings.Join(near, " or --"))
}

func newHelpCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			c, _, err := root.Find(args)
			if err != nil {
				return nil, noFiles
			}
			var out []string
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), typed) {
					out = append(out, sub.Name()+"\t"+sub.Short)
				}
			}
			return out, noFiles
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if c.HasSubCommands() && len(rest) > 0 {
				return &exitError{exitUsage, needsSubcommand(c, rest)}
			}
			return c.Help()
		},
	}
}

// wantsJSON looks for --json in a command line that could not be parsed.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		if arg == "--" {
			return false
		}
		if arg == "--json" || arg == "--json=true" {
			return true
		}
	}
	return false
}

// usageHint says how the command that args name is called, as far as they name
// one, and where its help is.
func usageHint(root *cobra.Command, args []string) string {
	c, _, err := root.Find(args)
	if err != nil {
		c = root
	}
	see := fmt.Sprintf("see %s --help", c.CommandPath())
	if c.HasSubCommands() {
		return see
	}
	return fmt.Sprintf("usage: %s\n%s", c.UseLine(), see)
}

func versionText() string {
	text := version
	if revision != "" {
		text += " " + revision
	}
	return fmt.Sprintf("%s (%s, %s/%s)", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
