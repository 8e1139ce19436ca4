// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/ui"
)

// newKernelCmd is "kmend kernel": which kernels can be patched.
func newKernelCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "kernel",
		Short: "Add, list, show and remove the kernels that can be patched",
		Long: `A kernel has to be added once before it can be patched: its image and modules,
its source of the same version, and a build directory prepared for it are kept
in the cache directory ($XDG_CACHE_HOME/kmend, by default ~/.cache/kmend).
Nothing is installed, and the cache can be deleted at any time.`,
		Example: `  kmend kernel add debian:6.1.0-50-amd64
  kmend kernel list
  kmend kernel show 6.1.0-50-amd64`,
	}
	c.AddCommand(newKernelAddCmd(a), newKernelListCmd(a), newKernelShowCmd(a), newKernelRemoveCmd(a))
	return c
}

func newKernelAddCmd(a *app) *cobra.Command {
	var opt kernel.AddOptions
	c := &cobra.Command{
		Use:   "add debian:VERSION | tree:PATH",
		Short: "Make a kernel known, so that it can be patched",
		Long: `add debian:VERSION takes a stock Debian kernel: VERSION is its release (what
uname -r prints) or its package version. The packages of image, headers and
source are downloaded with apt-get and unpacked into the cache; they need not
be installed. It takes about a minute and 2.1 GB.

add tree:PATH takes a kernel that you built: PATH is its O= directory (or its
source directory, if it was built there), with vmlinux or bzImage,
Module.symvers, .config and the modules. It is used where it is: the source is
never written to; in the O= directory make is asked for compile commands, which
refreshes its Makefile and what else it generates for itself.

That the parts belong together is checked: compiler, configuration, source,
generated headers, exports and modules against the image.

A kernel that is there already is left as it is, unless --force is given.`,
		Example: `  kmend kernel add debian:6.1.0-50-amd64
  kmend kernel add debian:6.1.176-1
  kmend kernel add debian:$(uname -r)
  kmend kernel add tree:/home/me/linux-build --name mine`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.kernelAdd(c.Context(), args[0], opt)
		},
	}
	c.Flags().StringVar(&opt.Name, "name", "", "name to add it under (default: its release)")
	c.Flags().BoolVar(&opt.Force, "force", false, "replace a kernel of that name that is there already")
	return c
}

func (a *app) kernelAdd(ctx context.Context, spec string, opt kernel.AddOptions) error {
	opt.Progress = a.Progress.Update
	if a.Verbose {
		opt.Log = &lineWriter{a}
	}
	start := time.Now()
	k, err := kernel.Add(ctx, spec, opt)
	if errors.As(err, new(*kernel.SpecError)) {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return err
	}
	if k.Fresh {
		if err := a.learnCommands(ctx, k); err != nil {
			return err
		}
	}
	a.Progress.Done()
	if a.JSON {
		return a.PrintJSON(kernelAnswer{Version: 1, Kernel: describeKernel(k), Added: &k.Fresh})
	}
	if !k.Fresh {
		fmt.Fprintf(a.Out, "kernel %s is there already, added %s\n", a.Style.Bold(k.Name), k.Added.Local().Format(time.DateTime))
		return nil
	}
	var steps []string
	for _, s := range k.Steps {
		steps = append(steps, s.Phase+" "+ui.Duration(seconds(s.Seconds)))
	}
	fmt.Fprintf(a.Out, "added kernel %s: %d symbols, %d modules, in %s (%s)\n",
		a.Style.Bold(k.Name), k.Symbols, k.ModuleN, ui.Duration(time.Since(start)), strings.Join(steps, ", "))
	return nil
}

// learnCommands asks kbuild once how it compiles, and reads which file includes
// which, so that the first build of a patch does not have to wait for it. init/main.c is part of every kernel.
func (a *app) learnCommands(ctx context.Context, k *kernel.Kernel) error {
	a.Progress.Update("learn how kbuild compiles", 0, 0)
	tree, err := kbuild.Open(k)
	if err == nil {
		_, err = tree.Commands(ctx, []string{"init/main.c"})
	}
	if err == nil {
		a.Progress.Update("learn what includes what", 0, 0)
		err = tree.Prepare(ctx)
	}
	if err == nil {
		_, err = k.Functions(ctx, a.counts("list the functions"))
	}
	if err != nil {
		return fmt.Errorf("kernel %s was added, but cannot be patched yet: %w", k.Name, err)
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func newKernelListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the kernels that can be patched",
		Example: "  kmend kernel list\n  kmend kernel list --json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.kernelList() },
	}
}

func (a *app) kernelList() error {
	all, err := kernel.List()
	if err != nil {
		return err
	}
	running, _ := kernel.RunningBuildID() // not known: no kernel is marked
	if a.JSON {
		answer := kernelsAnswer{Version: 1, Kernels: []kernelDocument{}}
		for _, k := range all {
			answer.Kernels = append(answer.Kernels, describeKernel(k))
		}
		return a.PrintJSON(answer)
	}
	if len(all) == 0 {
		fmt.Fprintln(a.Out, "no kernel has been added; run: kmend kernel add debian:VERSION")
		return nil
	}
	t := ui.Table{Header: []string{"NAME", "VERSION", "BUILD ID", "COMPILER", "ADDED", ""}, Style: a.Style}
	for _, k := range all {
		mark := ""
		if k.BuildID == running {
			mark = "running"
		}
		t.Row(k.Name, orDash(k.Version), k.BuildID[:min(12, len(k.BuildID))], k.Compiler, k.Added.Local().Format(time.DateOnly), mark)
	}
	return t.Write(a.Out, ui.Width(a.Out))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newKernelShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show [KERNEL]",
		Short: "Show what is known of a kernel",
		Long: `show prints release, build id, compiler, the configuration that decides what a
live patch can be, and where things lie. Without a name it takes the running
kernel if it was added, else the only one.`,
		Example: "  kmend kernel show 6.1.0-50-amd64\n  kmend kernel show --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.kernelShow(c.Context(), strings.Join(args, ""))
		},
	}
}

func (a *app) kernelShow(ctx context.Context, name string) error {
	k, err := kernel.Open(name)
	if err != nil {
		return err
	}
	doc := describeKernel(k)
	if doc.DiskBytes, err = k.DiskUse(ctx); err != nil {
		return err
	}
	doc.Config = map[string]string{}
	for _, o := range kernel.ConfigOptions {
		doc.Config[o] = k.Config(o)
	}
	if a.JSON {
		return a.PrintJSON(kernelAnswer{Version: 1, Kernel: doc})
	}
	return showKernel(a.Out, a.Style, k, doc)
}

func showKernel(w io.Writer, style ui.Style, k *kernel.Kernel, doc kernelDocument) error {
	running := ""
	if doc.Running {
		running = " (running)"
	}
	for _, row := range [][2]string{
		{"name", style.Bold(k.Name) + running},
		{"release", k.Release},
		{"version", orDash(k.Version)},
		{"build id", k.BuildID},
		{"compiler", k.CompilerID},
		{"vermagic", k.Vermagic()},
		{"symbols", fmt.Sprint(k.Symbols)},
		{"modules", fmt.Sprint(k.ModuleN)},
		{"source", k.SourceDir},
		{"build", k.ObjDir},
		{"image", k.Vmlinux},
		{"disk use", fmt.Sprintf("%.1f GB", float64(doc.DiskBytes)/1e9)},
		{"added", k.Added.Local().Format(time.DateTime) + " from " + k.Spec},
	} {
		if _, err := fmt.Fprintf(w, "%-10s %s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "config")
	for _, o := range kernel.ConfigOptions {
		if _, err := fmt.Fprintf(w, "  %-34s %s\n", strings.TrimPrefix(o, "CONFIG_"), orDash(doc.Config[o])); err != nil {
			return err
		}
	}
	return nil
}

func newKernelRemoveCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove KERNEL",
		Short: "Forget a kernel and delete what was kept of it",
		Long: `remove deletes a kernel's directory in the cache. The directories of a kernel
added with tree: are not touched; downloaded packages stay in the cache for the
next add.`,
		Example: "  kmend kernel remove 6.1.0-50-amd64",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := kernel.Remove(c.Context(), args[0]); err != nil {
				return err
			}
			if a.JSON {
				return a.PrintJSON(removedAnswer{Version: 1, Removed: args[0]})
			}
			fmt.Fprintf(a.Out, "removed kernel %s\n", args[0])
			return nil
		},
	}
}

// The documents of --json; see docs/json.md.
type (
	kernelAnswer struct {
		Version int            `json:"version"`
		Kernel  kernelDocument `json:"kernel"`
		Added   *bool          `json:"added,omitempty"` // by kernel add: false if it was there already
	}
	kernelsAnswer struct {
		Version int              `json:"version"`
		Kernels []kernelDocument `json:"kernels"`
	}
	removedAnswer struct {
		Version int    `json:"version"`
		Removed string `json:"removed"`
	}
	kernelDocument struct {
		Name           string            `json:"name"`
		Provider       string            `json:"provider"`
		Spec           string            `json:"spec"`
		Release        string            `json:"release"`
		PackageVersion string            `json:"package_version"`
		BuildID        string            `json:"build_id"`
		Running        bool              `json:"running"`
		Compiler       string            `json:"compiler"`
		CompilerID     string            `json:"compiler_id"`
		Vermagic       string            `json:"vermagic"`
		Symbols        int               `json:"symbols"`
		Modules        int               `json:"modules"`
		SourceDir      string            `json:"source_dir"`
		ObjDir         string            `json:"obj_dir"`
		Vmlinux        string            `json:"vmlinux"`
		ModulesDir     string            `json:"modules_dir"`
		AddedAt        time.Time         `json:"added_at"`
		Steps          []kernel.Step     `json:"steps"`
		DiskBytes      int64             `json:"disk_bytes,omitempty"` // kernel show only
		Config         map[string]string `json:"config,omitempty"`     // kernel show only
	}
)

func describeKernel(k *kernel.Kernel) kernelDocument {
	running, err := kernel.RunningBuildID()
	return kernelDocument{
		Name: k.Name, Provider: k.Provider, Spec: k.Spec, Release: k.Release, PackageVersion: k.Version,
		BuildID: k.BuildID, Running: err == nil && running == k.BuildID,
		Compiler: k.Compiler, CompilerID: k.CompilerID, Vermagic: k.Vermagic(),
		Symbols: k.Symbols, Modules: k.ModuleN,
		SourceDir: k.SourceDir, ObjDir: k.ObjDir, Vmlinux: k.Vmlinux, ModulesDir: k.ModulesDir,
		AddedAt: k.Added, Steps: k.Steps,
	}
}
