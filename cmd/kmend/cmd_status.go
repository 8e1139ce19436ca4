// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kmend/internal/host"
	"kmend/internal/nearest"
	"kmend/internal/ui"
)

// watchOptions are the flags of list and status.
type watchOptions struct {
	watch    bool
	interval time.Duration
}

func (opt *watchOptions) register(c *cobra.Command) {
	c.Flags().BoolVarP(&opt.watch, "watch", "w", false, "go on until interrupted: redraw on a terminal, print what changed elsewhere")
	c.Flags().DurationVar(&opt.interval, "interval", time.Second, "how often to look with --watch")
}

// newStatusCmd is "kmend status": which functions are live, and who waits.
func newStatusCmd(a *app) *cobra.Command {
	var opt watchOptions
	c := &cobra.Command{
		Use:   "status [NAME…]",
		Short: "Show live patches of the running kernel: functions, transition, origin",
		Long: `status tells of each live patch (or of those named) its state, since when, which
file it is from, and for each function that it replaces whether its code is what
runs: the module that it belongs to may not be loaded, and a live patch that was
loaded later may replace the same function. While a patch is in transition, the
tasks that have not switched are listed with the reason; only root sees them.

Time and file are known of live patches that kmend loaded. With --json --watch
there is one document a line, whenever something has changed.`,
		Example: `  kmend status
  kmend status livepatch_fix --json
  kmend status --watch`,
		ValidArgsFunction: completeLoaded,
		RunE: func(c *cobra.Command, args []string) error {
			for i := range args {
				args[i] = host.NameOf(args[i])
			}
			return a.showStatus(c.Context(), args, opt, a.printStatus)
		},
	}
	opt.register(c)
	return c
}

// showStatus prints once, or for as long as it is watched.
func (a *app) showStatus(ctx context.Context, names []string, opt watchOptions, print func(io.Writer, *host.Status) error) error {
	h := a.thisHost()
	last := ""
	for {
		s, err := h.Status(names...)
		if err != nil {
			return err
		}
		if err := allThere(h, s, names); err != nil && !opt.watch {
			return err
		}
		switch {
		case a.JSON && opt.watch:
			last, err = a.statusLine(s, last)
		case a.JSON:
			return a.PrintJSON(s)
		default:
			last, err = a.statusText(s, last, opt.watch, print)
		}
		if err != nil || !opt.watch {
			return err
		}
		if err := h.System.Sleep(ctx, max(opt.interval, 100*time.Millisecond)); err != nil {
			return nil // the user has seen enough
		}
	}
}

// statusText prints the answer for people; where it is watched, only if it is
// not the last one again.
func (a *app) statusText(s *host.Status, last string, watch bool, print func(io.Writer, *host.Status) error) (string, error) {
	var text bytes.Buffer
	if err := print(&text, s); err != nil {
		return last, err
	}
	if !watch {
		_, err := a.Out.Write(text.Bytes())
		return last, err
	}
	if text.String() != last {
		a.redraw(text.String())
	}
	return text.String(), nil
}

// statusLine prints the answer as JSON on one line, unless nothing but the time
// has changed.
func (a *app) statusLine(s *host.Status, last string) (string, error) {
	timeless := *s
	timeless.Time = time.Time{}
	now, err := json.Marshal(timeless)
	if err != nil {
		return last, fmt.Errorf("encode the answer as JSON: %w", err)
	}
	if string(now) == last {
		return last, nil
	}
	line, err := json.Marshal(s)
	if err != nil {
		return last, fmt.Errorf("encode the answer as JSON: %w", err)
	}
	if _, err := a.Out.Write(append(visibleJSON(line), '\n')); err != nil {
		return last, fmt.Errorf("write the answer: %w", err)
	}
	a.answered = true
	return string(now), nil
}

// redraw shows a new state: in place on a terminal, below the last one and with
// the time elsewhere.
func (a *app) redraw(text string) {
	if ui.IsTerminal(a.Out) {
		fmt.Fprint(a.Out, "\x1b[H\x1b[2J"+text)
		return
	}
	fmt.Fprintf(a.Out, "%s\n%s", time.Now().Format(time.RFC3339), text)
}

// allThere is an error for a name that no live patch has.
func allThere(h *host.Host, s *host.Status, names []string) error {
	have := map[string]bool{}
	for _, p := range s.Patches {
		have[p.Name] = true
	}
	for _, name := range names {
		if have[name] {
			continue
		}
		var known []string
		if all, err := h.Status(); err == nil {
			for _, p := range all.Patches {
				known = append(known, p.Name)
			}
		}
		if near := nearest.Names(name, known, 3); len(near) > 0 {
			return fmt.Errorf("no live patch %s is loaded; did you mean %s?", name, near[0])
		}
		return fmt.Errorf("no live patch %s is loaded; see kmend list", name)
	}
	return nil
}

func (a *app) printStatus(w io.Writer, s *host.Status) error {
	fmt.Fprintf(w, "kernel %s, build id %.12s…, taint %s\n", a.Style.Bold(visible(s.Release)), s.KernelID, orDefault(s.Taint, "none"))
	for _, n := range s.Notes {
		fmt.Fprintf(w, "%s %s\n", a.Style.Yellow("note:"), visible(n))
	}
	if len(s.Patches) == 0 {
		fmt.Fprintln(w, "no live patch is loaded")
	}
	for i := range s.Patches {
		a.printPatch(w, &s.Patches[i])
	}
	return nil
}

func (a *app) printPatch(w io.Writer, p *host.Patch) {
	fmt.Fprintf(w, "%s: %s\n", a.Style.Bold(visible(p.Name)), a.stateText(p))
	if p.Since != nil {
		fmt.Fprintf(w, "  since %s\n", sinceText(p))
	}
	if p.Path != "" {
		fmt.Fprintf(w, "  from  %s (sha256 %.12s…)\n", visible(p.Path), visible(p.SHA256))
	}
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			fmt.Fprintf(w, "  %s:%s: %s\n", visible(o.Name), visible(functionName(f)), visible(functionState(p, o, f)))
		}
	}
	if t := p.Transition; t != nil {
		since := ""
		if t.Since != nil {
			since = " since " + t.Since.Local().Format(time.DateTime)
		}
		if !t.Partial {
			fmt.Fprintf(w, "  %d of %d tasks have switched%s\n", t.Total-t.Waiting, t.Total, since)
		}
		for _, line := range t.Explain() {
			fmt.Fprintln(w, visible(line))
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintf(w, "  %s %s\n", a.Style.Yellow("note:"), visible(n))
	}
}

func functionName(f host.Function) string {
	if f.Sympos > 1 {
		return fmt.Sprintf("%s,%d", f.Name, f.Sympos)
	}
	return f.Name
}

func functionState(p *host.Patch, o host.Object, f host.Function) string {
	switch {
	case !o.Patched && p.State == host.Patching && o.Name == "vmlinux":
		return "about to be replaced"
	case !o.Patched && o.Name != "vmlinux":
		return "waits for its module to be loaded"
	case f.CoveredBy != "":
		return "replaced again by " + f.CoveredBy
	case p.State == host.Patching && f.Live:
		return "live for tasks that have switched"
	case f.Live:
		return "live"
	}
	return "on its way out"
}

func (a *app) stateText(p *host.Patch) string {
	text := p.State
	switch p.State {
	case host.Enabled:
		text = a.Style.Green(text)
	case host.Patching, host.Unpatching:
		text = a.Style.Yellow(text)
	case host.Disabled:
		text += ", without effect"
	}
	if p.Forced {
		text += a.Style.Red(", forced")
	}
	return text
}

func sinceText(p *host.Patch) string {
	if p.Since == nil {
		return "?"
	}
	text := p.Since.Local().Format(time.DateTime)
	if p.SinceFrom != "load" {
		return text + " or before"
	}
	return text
}
