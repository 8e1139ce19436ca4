// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"kmend/internal/ui"
	"kmend/internal/verify"
)

// printVerify shows what was found of each module, and of all together.
func (a *app) printVerify(answer *verifyAnswer) error {
	for i := range answer.Modules {
		if i > 0 {
			fmt.Fprintln(a.Out)
		}
		if err := a.printVerified(answer, &answer.Modules[i]); err != nil {
			return err
		}
	}
	a.printTogether(answer)
	verdict := a.Style.Green("no objection")
	if answer.Objections > 0 {
		verdict = a.Style.Red(counted(answer.Objections, "objection"))
	}
	if len(answer.Modules) > 1 {
		fmt.Fprintf(a.Out, "%s: %s\n", counted(len(answer.Modules), "module"), verdict)
	} else {
		fmt.Fprintf(a.Out, "%s: %s\n", a.Style.Bold(visible(answer.Modules[0].Report.Module.Name)), verdict)
	}
	return nil
}

// printTogether shows what the loads do to each other, and to what is loaded.
func (a *app) printTogether(answer *verifyAnswer) {
	l, order := answer.Loaded, ""
	if l != nil {
		fmt.Fprintln(a.Out)
		a.printLoaded(l)
	}
	switch many, some := len(answer.Modules) > 1, l != nil && len(l.Patches) > 0; {
	case many && some:
		order = "loaded after that, in this order:"
	case many:
		order = "loaded in this order:"
	case some:
		order = "loaded after that:"
	default: // nothing but perhaps the module's name can be wrong
		a.printFindings(answer.Together)
		return
	}
	fmt.Fprintf(a.Out, "\n%s\n", a.Style.Bold(order))
	a.printFindings(answer.Together)
	if len(answer.Together) == 0 {
		fmt.Fprintln(a.Out, "  they do not touch each other")
	}
}

func counted(n int, what string) string { return plural(n, what, what+"s") }

func plural(n int, one, more string) string {
	if n == 1 {
		more = one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func (a *app) printVerified(answer *verifyAnswer, m *verifyModule) error {
	r := m.Report
	fmt.Fprintf(a.Out, "%s: %s, held against %s (build id %.12s…)\n", visible(m.Path), a.Style.Bold(visible(orDefault(r.Module.Name, "?"))), answer.Kernel, answer.BuildID)
	for _, o := range r.Module.Objects {
		for _, f := range o.Funcs {
			a.printReplaced(&o, &f)
		}
	}
	if err := a.printSymbols(r); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "  %s, %d of them found with their CRC; %s; %s of unwind data\n",
		counted(len(r.Module.Exports), "export"), r.Checked.Exports, counted(r.Checked.Relocs, "relocation"), plural(r.Checked.OrcEntries, "entry", "entries"))
	fmt.Fprintf(a.Out, "  load: %s\n", loadText(&r.Load))
	fmt.Fprintf(a.Out, "  %s; taints the kernel: %s\n", signatureText(r.Signature), taintText(r.Taint))
	a.printFindings(r.Objections)
	a.printFindings(r.Warnings)
	a.printFindings(r.Notes)
	return nil
}

func (a *app) printReplaced(o *verify.Object, f *verify.Func) {
	name := a.Style.Bold(visible(f.OldName))
	if f.Sympos > 0 {
		name += fmt.Sprintf(",%d", f.Sympos)
	}
	at := a.Style.Red("cannot be replaced")
	if f.Old != nil {
		at = fmt.Sprintf("%s, %d bytes", f.Old, f.Old.Size)
	}
	fmt.Fprintf(a.Out, "  %s %s: %s; becomes %s, %s+%#x, %d bytes\n", visible(o.Name), name, at, visible(orDefault(f.New, "?")), visible(f.Section), f.Offset, f.Size)
}

// printSymbols shows what klp relocations resolve to: in full with -v.
func (a *app) printSymbols(r *verify.Report) error {
	if len(r.Symbols) == 0 {
		fmt.Fprintln(a.Out, "  no klp relocations")
		return nil
	}
	relocs := 0
	for _, s := range r.Symbols {
		relocs += len(s.At)
	}
	fmt.Fprintf(a.Out, "  %s of %s, %d of them resolved\n", counted(relocs, "klp relocation"), counted(len(r.Symbols), "symbol"), r.Checked.KlpSymbols)
	if !a.Verbose {
		return nil
	}
	t := ui.Table{Header: []string{"  SYMBOL", "WITH", "IS", "SIZE", "AT"}, Style: a.Style, Right: []bool{false, false, false, true}}
	for _, s := range r.Symbols {
		is, size := "not found", ""
		if s.Found != nil {
			is, size = s.Found.String(), fmt.Sprint(s.Found.Size)
		}
		t.Row(fmt.Sprintf("  %s:%s,%d", visible(s.Object), visible(s.Name), s.Sympos), visible(s.With), visible(is), size, visible(strings.Join(s.At, " ")))
	}
	return t.Write(a.Out, ui.Width(a.Out))
}

func loadText(l *verify.Load) string {
	text := plural(l.Walks, "search", "searches") + " of the kernel's symbol table"
	if l.Symbols > 0 {
		text += fmt.Sprintf(", %.1f million symbols, about %.3f s at 10^9 instructions a second", float64(l.Symbols)/1e6, l.Seconds)
	}
	if l.Later > 0 {
		text += fmt.Sprintf("; %d more among modules, when they are there", l.Later)
	}
	return text
}

func signatureText(s *verify.Signature) string {
	switch {
	case s == nil:
		return "not signed"
	case s.Signer == "":
		return fmt.Sprintf("signed (%d bytes appended)", s.Bytes)
	}
	return fmt.Sprintf("signed by %s with %s", visible(s.Signer), visible(s.Hash))
}

func taintText(list []verify.Taint) string {
	var out []string
	for _, t := range list {
		out = append(out, fmt.Sprintf("%s (%s)", t.Flag, t.Why))
	}
	return orDefault(strings.Join(out, ", "), "no")
}

func (a *app) printFindings(list []verify.Finding) {
	mark := map[verify.Severity]string{
		verify.Objection: a.Style.Red("objection:"), verify.Warning: a.Style.Yellow("warning:"), verify.Note: a.Style.Dim("note:"),
	}
	for _, f := range list {
		where := ""
		if f.Where != "" {
			where = visible(f.Where) + ": "
		}
		advice := ""
		if f.Advice != "" {
			advice = "; " + f.Advice
		}
		fmt.Fprintf(a.Out, "%s %s%s%s [%s]\n", mark[f.Severity], where, visible(f.What), visible(advice), f.Code)
	}
}
