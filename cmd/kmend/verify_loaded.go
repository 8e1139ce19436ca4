// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kmend/internal/host"
	"kmend/internal/kernel"
	"kmend/internal/verify"
)

// loadedOptions are the flags of kmend verify about what is loaded.
type loadedOptions struct {
	here  bool   // ask the running kernel
	from  string // or take the answer of kmend status --json, - for standard input
	asked func(flag string) bool
}

func (opt *loadedOptions) register(c *cobra.Command) {
	c.Flags().BoolVar(&opt.here, "loaded", false, "count what the running kernel has loaded as loaded before (default: if it is the kernel that the modules are held against)")
	c.Flags().StringVar(&opt.from, "loaded-from", "", "the same of another machine: its answer of kmend status --json; - for standard input")
	_ = c.MarkFlagFilename("loaded-from", "json")
	c.MarkFlagsMutuallyExclusive("loaded", "loaded-from")
	opt.asked = c.Flags().Changed
}

// loadedStatus is an answer about what is loaded, and whence it is.
type loadedStatus struct {
	*host.Status
	from string     // the file
	host *host.Host // this machine, if it is no file
}

// verifyLoaded is what a verifyAnswer took as loaded before the modules.
type verifyLoaded struct {
	From     string       `json:"from"` // "": this machine
	Release  string       `json:"release"`
	KernelID string       `json:"kernel_build_id"`
	Patches  []host.Patch `json:"patches"`
}

// whatIsLoaded finds what counts as loaded before the modules: nil for nothing
// that is known.
func (a *app) whatIsLoaded(k *kernel.Kernel, opt *loadedOptions) (*loadedStatus, error) {
	switch {
	case opt.asked("loaded-from"):
		return loadedFrom(k, opt.from)
	case opt.here:
		return a.loadedHere(k)
	case opt.asked("loaded"):
		return nil, nil
	}
	if id, err := kernel.RunningBuildID(); err != nil || id != k.BuildID {
		return nil, nil
	}
	s, err := a.loadedHere(k)
	if err != nil { // nobody has asked
		a.Log.Info("what is loaded is not looked at", "why", err)
		return nil, nil
	}
	return s, nil
}

func (a *app) loadedHere(k *kernel.Kernel) (*loadedStatus, error) {
	h := a.thisHost()
	s, err := h.Status()
	if err != nil {
		return nil, err
	}
	return &loadedStatus{s, "", h}, s.OfKernel("what is loaded here", k.Name, k.BuildID)
}

func loadedFrom(k *kernel.Kernel, file string) (*loadedStatus, error) {
	r, where := io.Reader(os.Stdin), "standard input"
	if file != "-" {
		where = file
		st, err := os.Stat(file) // before it is opened, which waits for ever for a pipe
		if err != nil {
			return nil, fmt.Errorf("read what is loaded: %w", err)
		}
		if !st.Mode().IsRegular() {
			return nil, fmt.Errorf("read what is loaded: %s is no file: give the answer of kmend status --json, - for standard input", file)
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read what is loaded: %w", err)
		}
		defer f.Close()
		r = f
	}
	s, err := host.ReadStatus(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return &loadedStatus{s, file, nil}, s.OfKernel(where, k.Name, k.BuildID)
}

// loadedFor puts what is loaded into the answer, and gives it as package verify
// wants it.
func (a *app) loadedFor(v *verify.Verifier, answer *verifyAnswer, s *loadedStatus) *verify.Loaded {
	if s == nil {
		return nil
	}
	answer.Loaded = &verifyLoaded{From: s.from, Release: s.Release, KernelID: s.KernelID, Patches: s.Patches}
	var l *verify.Loaded
	if s.host != nil {
		l = s.host.Loaded(s.Status, v.Inspect)
	} else {
		l = s.Loaded()
	}
	v.Locate(l)
	return l
}

// printLoaded shows what was taken as loaded before the modules.
func (a *app) printLoaded(l *verifyLoaded) {
	where := "on this machine"
	switch l.From {
	case "":
	case "-":
		where = "by standard input"
	default:
		where = "by " + visible(l.From)
	}
	if len(l.Patches) == 0 {
		fmt.Fprintf(a.Out, "no live patch is loaded, %s\n", where)
		return
	}
	fmt.Fprintln(a.Out, a.Style.Bold("loaded already, "+where+":"))
	for i := range l.Patches {
		p := &l.Patches[i]
		count, text := 0, a.stateText(p)
		for _, o := range p.Objects {
			count += len(o.Functions)
		}
		if count > 0 {
			text += ", " + counted(count, "function")
		}
		if p.Path != "" {
			text += ", from " + visible(p.Path)
		}
		fmt.Fprintf(a.Out, "  %s: %s\n", a.Style.Bold(visible(p.Name)), text)
	}
}
