// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kmend/internal/host"
	"kmend/internal/ui"
)

// newListCmd is "kmend list": the live patches of this machine, one a line.
func newListCmd(a *app) *cobra.Command {
	var opt watchOptions
	c := &cobra.Command{
		Use:   "list",
		Short: "List the live patches of the running kernel, and what is installed",
		Long: `list shows the live patches that are loaded, in the order in which they were, and
what is installed to be loaded at boot, for whichever build of a kernel. Where
two live patches replace one function, the later one counts.

With --json the answer is that of kmend status, with the functions, and with
--watch one document a line; what is installed is in the answer of
kmend list --installed --json.`,
		Example: "  kmend list\n  kmend list --watch\n  kmend list --installed --json",
		Args:    cobra.NoArgs,
	}
	installed := c.Flags().Bool("installed", false, "list only what is installed")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *installed {
			return a.listInstalled()
		}
		return a.showStatus(c.Context(), nil, opt, a.printList)
	}
	opt.register(c)
	return c
}

func (a *app) printList(w io.Writer, s *host.Status) error {
	if len(s.Patches) == 0 {
		fmt.Fprintln(w, "no live patch is loaded")
	} else if err := a.listTable(s).Write(w, ui.Width(a.Out)); err != nil {
		return err
	}
	all, err := a.thisHost().Installed()
	if err != nil || all.Count() == 0 {
		return err
	}
	fmt.Fprintln(w)
	return a.printInstalled(w, all)
}

func (a *app) listTable(s *host.Status) *ui.Table {
	t := &ui.Table{Header: []string{"NAME", "STATE", "FUNCTIONS", "SINCE", "FILE"}, Right: []bool{false, false, true}, Style: a.Style}
	for i := range s.Patches {
		p := &s.Patches[i]
		live, all := 0, 0
		for _, o := range p.Objects {
			for _, f := range o.Functions {
				all++
				if f.Live {
					live++
				}
			}
		}
		state := p.State
		if p.Forced {
			state += ", forced"
		}
		functions := fmt.Sprint(live)
		if live != all {
			functions = fmt.Sprintf("%d of %d", live, all)
		}
		t.Row(p.Name, state, functions, sinceText(p), orDash(p.Path))
	}
	return t
}

func (a *app) listInstalled() error {
	all, err := a.thisHost().Installed()
	if err != nil {
		return err
	}
	if a.JSON {
		return a.PrintJSON(all)
	}
	if all.Count() == 0 {
		fmt.Fprintln(a.Out, "nothing is installed; see kmend install --help")
		return nil
	}
	return a.printInstalled(a.Out, all)
}

func (a *app) printInstalled(w io.Writer, all *host.Installation) error {
	t := ui.Table{Header: []string{"INSTALLED", "KERNEL", "BUILD ID", "DIGEST", ""}, Style: a.Style}
	for _, b := range all.Builds {
		for _, m := range b.Modules {
			mark := m.Trouble
			if mark == "" && b.Running {
				mark = "for this kernel"
			}
			t.Row(m.Name, orDash(m.Release), fmt.Sprintf("%.12s", b.BuildID), fmt.Sprintf("%.12s", m.SHA256), mark)
		}
	}
	if err := t.Write(w, ui.Width(a.Out)); err != nil {
		return err
	}
	for _, b := range all.Builds {
		for _, n := range b.Notes {
			fmt.Fprintf(w, "%s %s\n", a.Style.Yellow("note:"), visible(n))
		}
	}
	return nil
}
