// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	if doc.Totals[outcomeWrong] > 0 || doc.Totals[outcomeError] > 0 {
		return &exitError{exitFailed, nil}
	}
	return nil
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
