// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kmend/internal/compiler"
	"kmend/internal/doctor"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/ui"
)

// doctorOptions are the flags of kmend doctor.
type doctorOptions struct {
	cc, kernel string
	level      bool
	unit       string
	flags      []string // after --
}

// doctorUnit is the unit whose flags stand for a kernel's: all kernels have it,
// and ftrace reaches it.
const doctorUnit = "kernel/fork.c"

// newDoctorCmd is "kmend doctor": which facts does the compiler use?
func newDoctorCmd(a *app) *cobra.Command {
	var opt doctorOptions
	c := &cobra.Command{
		Use:   "doctor [-k KERNEL [UNIT.c]] [-- FLAGS...]",
		Short: "Probe a compiler: which facts about one function does it use in another?",
		Long: `doctor compiles small probes and says which facts about one function the
compiler uses in another one at these flags, and whether a name or a dump shows
that. It goes by the machine code alone: a probe is one caller with two callees
(or one callee with two callers), and a fact is used if the code of the function
that stays the same differs. A control, in which the fact is hidden from the
compiler, must not differ; else the probe is reported as broken.

Without -k the compiler is gcc-12, or gcc, and the flags are -O2 -pg -mfentry;
with -k they are those with which the kernel's build compiles UNIT.c (default:
kernel/fork.c). Flags after -- are added to the kernel's, or used in place of
the default ones.

What the probes are and what they find for several compilers is in
docs/doctor.md. Exit status 1 means that a probe is broken, or that the compiler
does not work.`,
		Example: `  kmend doctor
  kmend doctor --cc clang-14 -- -O2
  kmend doctor -k 6.1.0-50-amd64 mm/slub.c
  kmend doctor --level --json`,
		RunE: func(c *cobra.Command, args []string) error {
			own := args
			if n := c.ArgsLenAtDash(); n >= 0 {
				own, opt.flags = args[:n], args[n:]
			}
			switch {
			case len(own) > 1:
				return usageErrorf("give one UNIT.c, not %d; flags for the compiler stand behind --", len(own))
			case len(own) == 1 && opt.kernel == "":
				return usageErrorf("%s: a unit is one of a kernel: name the kernel with -k", own[0])
			case len(own) == 1:
				opt.unit = own[0]
			}
			return a.doctor(c.Context(), opt)
		},
	}
	f := c.Flags()
	f.StringVar(&opt.cc, "cc", "", "compiler `COMMAND` (default: the kernel's, else gcc-12 or gcc)")
	f.StringVarP(&opt.kernel, "kernel", "k", "", "take compiler and flags from this kernel")
	f.BoolVar(&opt.level, "level", false, "probe at each level of -flive-patching, too")
	return c
}

// doctorAnswer is the document of kmend doctor --json.
type doctorAnswer struct {
	Version      int                   `json:"version"`
	Command      []string              `json:"command"`
	Compiler     string                `json:"compiler"`
	Identity     string                `json:"identity"`
	Unit         string                `json:"unit,omitempty"`
	Examinations []*doctor.Examination `json:"examinations"`
	Broken       int                   `json:"broken"`
}

func (a *app) doctor(ctx context.Context, opt doctorOptions) error {
	command, flags, err := a.doctorSubject(ctx, &opt)
	if err != nil {
		return err
	}
	cc, err := compiler.Identify(ctx, command)
	if err != nil {
		return err
	}
	settings, err := doctorSettings(ctx, cc, flags, opt.level)
	if err != nil {
		return err
	}
	answer := doctorAnswer{Version: 1, Command: command, Compiler: cc.String(), Identity: cc.Text, Unit: opt.unit}
	for i, s := range settings {
		e, err := doctor.Examine(ctx, cc, s, doctor.Options{
			Switches: i == 0,
			Progress: func(done, total int) { a.Progress.Update("probe "+s.Name, int64(done), int64(total)) },
		})
		if err != nil {
			return err
		}
		answer.Examinations = append(answer.Examinations, e)
		answer.Broken += e.Broken()
	}
	a.Progress.Done()
	if a.JSON {
		err = a.PrintJSON(answer)
	} else {
		err = a.printDoctor(&answer)
	}
	if err == nil && answer.Broken > 0 {
		return &exitError{exitFailed, nil}
	}
	return err
}

// doctorSubject finds the compiler and its flags.
func (a *app) doctorSubject(ctx context.Context, opt *doctorOptions) (command, flags []string, err error) {
	command = strings.Fields(opt.cc)
	if opt.cc != "" && len(command) == 0 {
		return nil, nil, usageErrorf("--cc %q names no compiler", opt.cc)
	}
	if opt.kernel == "" {
		if len(command) == 0 {
			command = []string{"gcc-12"}
			if _, err := exec.LookPath(command[0]); err != nil {
				command = []string{"gcc"}
			}
		}
		if flags = opt.flags; len(flags) == 0 {
			flags = []string{"-O2", "-pg", "-mfentry"}
		}
		return command, flags, nil
	}
	k, err := kernel.Open(opt.kernel)
	if err != nil {
		return nil, nil, err
	}
	if len(command) == 0 {
		command = strings.Fields(k.Compiler)
	}
	if opt.unit == "" {
		opt.unit = doctorUnit
	}
	tree, err := kbuild.Open(k)
	if err != nil {
		return nil, nil, err
	}
	a.Progress.Update("ask kbuild", 0, 0)
	commands, err := tree.Commands(ctx, []string{opt.unit})
	if err != nil {
		return nil, nil, err
	}
	flags, err = doctor.FlagsOf(commands[0].Gcc)
	return command, slices.Concat(flags, opt.flags), err
}

// doctorSettings are the flags as given and, if levels are asked for, at each
// level. For a compiler that cannot keep a level they are the nearest it has.
func doctorSettings(ctx context.Context, cc *compiler.Compiler, flags []string, levels bool) ([]doctor.Setting, error) {
	out := []doctor.Setting{{Name: "as given", Flags: flags}}
	if !levels {
		return out, nil
	}
	for _, l := range compiler.Levels {
		if l == compiler.Plain {
			continue
		}
		s := doctor.Setting{Name: l.String()}
		more, err := cc.LevelFlags(ctx, l)
		var none *compiler.LevelError
		if errors.As(err, &none) && cc.Family == compiler.Clang {
			more, err = none.Nearest, nil
			s.Note = "the nearest flags of " + none.Compiler + ", which cannot keep the level"
		}
		if err != nil {
			return nil, err
		}
		s.Flags = slices.Concat(flags, more)
		out = append(out, s)
	}
	return out, nil
}

// printDoctor shows what was found: one setting in detail, several side by side.
func (a *app) printDoctor(answer *doctorAnswer) error {
	fmt.Fprintf(a.Out, "%s: %s\n", a.Style.Bold(answer.Compiler), visible(answer.Identity))
	for _, e := range answer.Examinations {
		fmt.Fprintf(a.Out, "%s: %s\n", e.Name, visible(strings.Join(slices.Concat(answer.Command, e.Flags), " ")))
		if e.Note != "" {
			fmt.Fprintf(a.Out, "  %s\n", visible(e.Note))
		}
	}
	fmt.Fprintln(a.Out)
	table := a.doctorTable(answer.Examinations)
	if err := table.Write(a.Out, ui.Width(a.Out)); err != nil {
		return err
	}
	for _, e := range answer.Examinations {
		for _, r := range e.Results {
			if r.Broken != "" {
				fmt.Fprintf(a.Out, "\n%s %s, %s: %s\n", a.Style.Red("broken:"), e.Name, r.Probe, visible(r.Broken))
			}
		}
	}
	// Settings of one verdict are told together.
	for i, e := range answer.Examinations {
		same := func(o *doctor.Examination) bool { return slices.Equal(o.Verdict, e.Verdict) }
		if slices.ContainsFunc(answer.Examinations[:i], same) {
			continue
		}
		var names []string
		for _, o := range answer.Examinations[i:] {
			if same(o) {
				names = append(names, o.Name)
			}
		}
		fmt.Fprintf(a.Out, "\n%s\n", a.Style.Bold(strings.Join(names, ", ")+":"))
		for _, s := range e.Verdict {
			fmt.Fprintf(a.Out, "  %s\n", visible(s))
		}
	}
	return nil
}

func (a *app) doctorTable(es []*doctor.Examination) *ui.Table {
	if len(es) == 1 {
		t := &ui.Table{Header: []string{"PROBE", "", "OFF WITH", "FACT"}, Wrap: []bool{false, false, false, true}, Style: a.Style}
		for _, r := range es[0].Results {
			off := r.Off
			if r.Used && off == "" {
				off = "no flag found"
			}
			t.Row(r.Probe, doctorCell(&r), off, r.Fact)
		}
		return t
	}
	t := &ui.Table{Header: []string{"PROBE"}, Style: a.Style}
	for _, e := range es {
		t.Header = append(t.Header, strings.ToUpper(e.Name))
	}
	for i, r := range es[0].Results {
		row := []string{r.Probe}
		for _, e := range es {
			row = append(row, doctorCell(&e.Results[i]))
		}
		t.Row(row...)
	}
	return t
}

// doctorCell is a verdict in a word or three.
func doctorCell(r *doctor.Result) string {
	switch {
	case r.Broken != "":
		return "broken"
	case !r.Used:
		return "-"
	case r.Unsafe:
		return "UNSEEN"
	case r.Shown == "":
		return "harmless"
	}
	return r.Shown
}
