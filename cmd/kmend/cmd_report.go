// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kmend/internal/impact/index"
	"kmend/internal/kernel"
	"kmend/internal/report/evidence"
	"kmend/internal/report/explorer"
	"kmend/internal/report/planpage"
	"kmend/internal/vm"
)

// reportOptions are the flags of kmend report.
type reportOptions struct {
	output, kernel, test, console, levels string
	patches, indexes                      []string
	noKernel                              bool
}

// reportAnswer is what is printed with --json; see docs/json.md.
type reportAnswer struct {
	Version int      `json:"version"`
	Page    string   `json:"page"`
	Bytes   int      `json:"bytes"`
	Notes   []string `json:"notes"`
}

func newReportCmd(a *app) *cobra.Command {
	var opt reportOptions
	c := &cobra.Command{
		Use:   "report PLAN.json -o PAGE.html",
		Short: "Make an HTML page of a plan, or of the impact in a whole build",
		Long: `report makes one HTML file that opens from a disk, without a network. Its text
needs no JavaScript.

Of a plan (plan.json as build leaves it, or what "kmend plan --json" prints) it
shows for a review: the fix; for each function why it is in, its source and its
instructions before and after, and the proof that it is what runs; how each
reference is found; refusals, warnings and timings; the verdict of "kmend test".
Source and instructions come from the plan's kernel, if it was added here, and
need the text of the fix. That is looked for under the name in the plan, or
given with --patch; it is used only if its SHA-256 is the plan's. The units are
compiled as plan does it: use --no-kernel with the plan and the fix of a stranger
that you would not build. The console of --vm-result is looked for beside that
file.

Of the index of a build (--index, made by "kmend impact index") it shows how
many functions depend on one, over all functions, and lets you search for a
function and see who would have to be patched along with it. With several
--index, as of builds at different levels of -flive-patching, or with what
"kmend levels --json" printed (--levels), it compares them.`,
		Example: `  kmend report out/plan.json -o review.html
  kmend report out/plan.json --patch fix.patch --vm-result out/test.json -o review.html
  kmend plan --json fix.patch > plan.json; kmend report plan.json -o review.html
  kmend report --index linux.idx -o impact.html
  kmend report --index plain=plain.idx --index inline=inline.idx --levels levels.json -o impact.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.report(c.Context(), opt, args) },
	}
	f := c.Flags()
	f.StringVarP(&opt.output, "output", "o", "", "the page")
	f.StringVarP(&opt.kernel, "kernel", "k", "", "kernel that the plan is for (default: the one it names, if that was added)")
	f.BoolVar(&opt.noKernel, "no-kernel", false, "no source and instructions: only what the plan and the text of the fix say")
	f.StringArrayVar(&opt.patches, "patch", nil, "text of the fix that the plan is of; may be given several times")
	f.StringVar(&opt.test, "vm-result", "", "what kmend test --json printed")
	f.StringVar(&opt.console, "console", "", "console of that test (default: beside --vm-result)")
	f.StringArrayVar(&opt.indexes, "index", nil, "index of a build, as `[NAME=]FILE`; the first is explored, all are compared")
	f.StringVar(&opt.levels, "levels", "", "with --index: what kmend levels --json printed")
	c.MarkFlagsMutuallyExclusive("kernel", "no-kernel")
	_ = c.MarkFlagRequired("output")
	_ = c.MarkFlagFilename("output", "html")
	_ = c.MarkFlagFilename("patch", "patch", "diff")
	_ = c.MarkFlagFilename("vm-result", "json")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
	return c
}

func (a *app) report(ctx context.Context, opt reportOptions, args []string) error {
	ofPlan := opt.kernel != "" || opt.noKernel || len(opt.patches) > 0 || opt.test != "" || opt.console != ""
	switch {
	case len(args) == 0 && len(opt.indexes) == 0:
		return usageErrorf("nothing to show: give a PLAN.json or --index FILE")
	case len(args) > 0 && (len(opt.indexes) > 0 || opt.levels != ""):
		return usageErrorf("a page is of a plan or of an index: give PLAN.json, or --index and --levels")
	case len(args) == 0 && ofPlan:
		return usageErrorf("-k, --no-kernel, --patch, --vm-result and --console are for the page of a plan: give PLAN.json")
	case opt.console != "" && opt.test == "":
		return usageErrorf("--console belongs to a result: give --vm-result FILE")
	}
	var page bytes.Buffer
	var notes []string
	var err error
	if len(args) > 0 {
		notes, err = a.planPage(ctx, &page, opt, args[0])
	} else {
		err = a.indexPage(ctx, &page, opt)
	}
	if err != nil {
		return err
	}
	staged, err := stage(opt.output, page.Bytes())
	if err != nil {
		return err
	}
	defer os.Remove(staged)
	if err := os.Rename(staged, opt.output); err != nil {
		return fmt.Errorf("put the page into place: %w", err)
	}
	a.Progress.Done()
	if a.JSON {
		return a.PrintJSON(reportAnswer{Version: 1, Page: opt.output, Bytes: page.Len(), Notes: append([]string{}, notes...)})
	}
	fmt.Fprintf(a.Out, "%s: %d bytes\n", a.Style.Bold(opt.output), page.Len())
	for _, n := range notes {
		fmt.Fprintf(a.Out, "%s %s\n", a.Style.Yellow("note:"), n)
	}
	return nil
}

// planPage writes the page of a plan. Notes say what is missing on it.
func (a *app) planPage(ctx context.Context, w io.Writer, opt reportOptions, name string) ([]string, error) {
	p, err := readFrom(name, planpage.ReadPlan)
	if err != nil {
		return nil, err
	}
	in := planpage.Input{Plan: p}
	if opt.test != "" {
		if err := readTest(&in, opt); err != nil {
			return nil, err
		}
	}
	q := evidence.Request{Plan: p, Progress: func(stage string, done, total int) { a.Progress.Update(stage, int64(done), int64(total)) }}
	if err := addFixes(&q, opt.patches); err != nil {
		return nil, err
	}
	if opt.noKernel {
		q.NoKernel = "--no-kernel was given"
	} else if err := planKernel(&q, opt.kernel); err != nil {
		return nil, err
	}
	a.Progress.Update("compile", 0, 0)
	if in.Evidence, err = evidence.Gather(ctx, q); err != nil {
		return nil, err
	}
	return in.Evidence.Notes, planpage.Write(w, in)
}

// readFrom opens a file for a function that reads it.
func readFrom[T any](name string, read func(string, io.Reader) (T, error)) (T, error) {
	var none T
	data, err := os.Open(name)
	if err != nil {
		return none, fmt.Errorf("read the input: %w", err)
	}
	defer data.Close()
	return read(name, data)
}

// openRegular opens a file that a plan names. A device or a pipe is not even
// opened: that can block, or do something.
func openRegular(name string) (*os.File, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: give a file", name)
	}
	return os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// addFixes adds the texts of fixes: those that are given must be the plan's.
// Others are looked for under the names in the plan, and used only if they are
// the plan's: a plan cannot make a file of the user's part of the page, unless
// whoever wrote the plan knew all of it.
func addFixes(q *evidence.Request, given []string) error {
	for _, name := range given {
		data, err := readPatch(name)
		if err == nil {
			err = q.AddFix(name, data)
		}
		if err != nil {
			return err
		}
	}
	for _, s := range q.Plan.Patches {
		if _, ok := q.Fixes[s.SHA256]; ok {
			continue
		}
		f, err := openRegular(s.Name)
		if err != nil {
			continue // the page says that it is missing
		}
		data, err := io.ReadAll(io.LimitReader(f, maxPatch+1))
		f.Close()
		if err == nil && len(data) <= maxPatch {
			_ = q.AddFix(s.Name, data)
		}
	}
	return nil
}

// planKernel finds the kernel of the plan. One that is named must be it.
func planKernel(q *evidence.Request, name string) error {
	want := &q.Plan.Kernel
	k, err := kernel.Open(orDefault(name, want.Name))
	var unknown *kernel.NotFoundError
	switch {
	case name == "" && want.Name == "":
		q.NoKernel = "the plan names no kernel"
	case name == "" && errors.As(err, &unknown):
		q.NoKernel = fmt.Sprintf("the kernel %s was not added on this machine (kmend kernel add debian:%s)", want.Name, want.Name)
	case name == "" && err != nil:
		q.NoKernel = fmt.Sprintf("the kernel that the plan names cannot be used: %v", err)
	case err != nil:
		return err
	case k.BuildID != want.BuildID && name != "":
		return fmt.Errorf("use kernel %s: its build id is %s, and the plan is for %q: name the kernel that the plan was made for", k.Name, k.BuildID, want.BuildID)
	case k.BuildID != want.BuildID:
		q.NoKernel = fmt.Sprintf("the kernel %s of this machine has another build id than the plan's", k.Name)
	default:
		q.Kernel = k
	}
	return nil
}

// readTest reads the result of a virtual machine and its console.
func readTest(in *planpage.Input, opt reportOptions) error {
	var err error
	in.Test, err = readFrom(opt.test, func(name string, r io.Reader) (*vm.Report, error) { return planpage.ReadTest(name, r, in.Plan) })
	if err != nil {
		return err
	}
	// The path in the result is not followed: it may be anything.
	name := opt.console
	if name == "" {
		if in.Test.Console == "" {
			in.NoConsole = "The result names no console."
			return nil
		}
		name = filepath.Join(filepath.Dir(opt.test), filepath.Base(in.Test.Console))
		if st, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() || filepath.Ext(name) != ".log" {
			in.NoConsole = fmt.Sprintf("The console is not shown: no %s lies beside the result; kmend report --console FILE adds it.", filepath.Base(name))
			return nil
		}
	}
	in.Console, err = readFrom(name, readConsole)
	return err
}

// maxConsole bounds a console, in bytes; the page shows its end.
const maxConsole = 64 << 20

func readConsole(name string, r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxConsole+1))
	if err != nil {
		return "", fmt.Errorf("read the console %s: %w", name, err)
	}
	if len(data) > maxConsole {
		return "", fmt.Errorf("read the console %s: it has more than %d MB: give its end as another file with --console", name, maxConsole>>20)
	}
	return string(data), nil
}

// indexPage writes the page of the index of a build, or several.
func (a *app) indexPage(ctx context.Context, w io.Writer, opt reportOptions) error {
	in := explorer.Input{}
	for _, arg := range opt.indexes {
		name, file, named := strings.Cut(arg, "=")
		if _, err := os.Stat(arg); err == nil || !named {
			name, file = strings.TrimSuffix(filepath.Base(arg), filepath.Ext(arg)), arg
		}
		x, err := index.Open(file)
		if err != nil {
			return err
		}
		defer x.Close()
		in.Builds = append(in.Builds, explorer.Build{Name: name, Index: x})
	}
	if opt.levels != "" {
		var err error
		if in.Levels, err = readFrom(opt.levels, explorer.ReadLevels); err != nil {
			return err
		}
	}
	a.Progress.Update("follow the graph", 0, 0)
	return explorer.Write(ctx, w, in)
}
