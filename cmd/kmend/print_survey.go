// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/plan"
	"kmend/internal/ui"
)

// surveyAnswer prints the totals and the table; anything wrong is a failure.
func (a *app) surveyAnswer(opt surveyOptions, results []*surveyed) error {
	doc := surveyDocument{Version: 1, Kernel: opt.kernel, Totals: map[string]int{}, Fixes: results}
	for _, r := range results {
		doc.Totals[r.Outcome]++
	}
	if opt.markdown != "" {
		staged, err := stage(opt.markdown, []byte(surveyMarkdown(&doc)))
		if err != nil {
			return err
		}
		if err := os.Rename(staged, opt.markdown); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
	}
	if a.JSON {
		if err := a.PrintJSON(doc); err != nil {
			return err
		}
	} else {
		t := ui.Table{Header: []string{"outcome", "fixes"}, Right: []bool{false, true}, Style: a.Style}
		for _, o := range surveyOrder {
			if n := doc.Totals[o]; n > 0 {
				t.Row(o, fmt.Sprint(n))
			}
		}
		if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
			return err
		}
	}
	if !a.JSON {
		if err := a.extractionTotals(results); err != nil {
			return err
		}
	}
	if doc.Totals[outcomeWrong] > 0 || doc.Totals[outcomeError] > 0 {
		return &exitError{exitFailed, nil}
	}
	return nil
}

// extractionTotals prints how the code of what was extracted compares.
func (a *app) extractionTotals(results []*surveyed) error {
	verdicts, lines := map[string]int{}, []int{}
	for _, r := range results {
		if x := r.Extraction; x != nil {
			verdicts[x.Worst]++
			lines = append(lines, x.Lines-x.Includes)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	t := ui.Table{Header: []string{"code", "extractions"}, Right: []bool{false, true}, Style: a.Style}
	for _, v := range []string{plan.ProofIdentical, plan.ProofNamed, plan.ProofUnexplained} {
		t.Row(v, fmt.Sprint(verdicts[v]))
	}
	if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "lines of code without #include: median %d, at most %d\n", lines[len(lines)/2], lines[len(lines)-1])
	return nil
}

// extractionMarkdown adds a table of what was extracted, if anything was.
func extractionMarkdown(b *strings.Builder, fixes []*surveyed) bool {
	if !slices.ContainsFunc(fixes, func(r *surveyed) bool { return r.Extraction != nil }) {
		return false
	}
	b.WriteString("| what | outcome | lines | of them #include | code | rules or reason |\n| --- | --- | ---: | ---: | --- | --- |\n")
	for _, r := range fixes {
		why := strings.Join(r.Codes, ", ")
		x := r.Extraction
		if x == nil {
			fmt.Fprintf(b, "| %s | %s | | | | %s |\n", r.Patch, r.Outcome, why)
			continue
		}
		if why == "" {
			why = strings.Join(slices.Sorted(maps.Keys(x.Rules)), ", ")
		}
		fmt.Fprintf(b, "| %s | %s | %d | %d | %s | %s |\n", strings.TrimSuffix(filepath.Base(r.Patch), ".patch"), r.Outcome, x.Lines, x.Includes, x.Worst, why)
	}
	return true
}

var surveyOrder = []string{outcomeProven, outcomeBuilt, outcomeIncomplete, outcomeNothing, outcomeRefused, outcomeNoCompile, outcomeWrong, outcomeError}

// surveyMarkdown is the table for a document.
func surveyMarkdown(doc *surveyDocument) string {
	var b strings.Builder
	b.WriteString("| outcome | fixes |\n| --- | ---: |\n")
	for _, o := range surveyOrder {
		if n := doc.Totals[o]; n > 0 {
			fmt.Fprintf(&b, "| %s | %d |\n", o, n)
		}
	}
	fmt.Fprintf(&b, "| all | %d |\n\n", len(doc.Fixes))
	if extractionMarkdown(&b, doc.Fixes) {
		return b.String()
	}
	b.WriteString("| fix | object | outcome | functions | klp relocations | build s | VM s | reason |\n| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n")
	for _, r := range doc.Fixes {
		reason := strings.Join(r.Codes, ", ")
		if reason == "" && len(r.Reasons) > 0 {
			reason = strings.ReplaceAll(strings.SplitN(r.Reasons[0], "\n", 2)[0], "|", "\\|")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %.1f | %.1f | %s |\n", strings.TrimSuffix(filepath.Base(r.Patch), ".patch"), r.Object, r.Outcome,
			r.Functions, r.KlpRelocs, r.Seconds, r.VMSeconds, reason)
	}
	return b.String()
}
