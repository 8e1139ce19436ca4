// SPDX-License-Identifier: Apache-2.0

package planpage

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"

	"kmend/internal/plan"
	"kmend/internal/report/evidence"
	"kmend/internal/report/page"
	"kmend/internal/vm"
)

// Input is what is shown.
type Input struct {
	Plan     *plan.Plan
	Evidence *evidence.Evidence // nil: none was gathered
	Test     *vm.Report         // nil: the module was not tested
	Console  string             // what the guest wrote to its console, "" if that is not known
	// NoConsole says why Console is empty, "" if there was no test.
	NoConsole string
}

// maxConsole is how much of the end of a console is shown, in bytes.
const maxConsole = 256 << 10

//go:embed *.tmpl
var files embed.FS

var templates = page.Templates(files, "*.tmpl")

// Write writes the page. The same input gives the same bytes. The input is not
// changed.
func Write(w io.Writer, in Input) error {
	v, err := newView(in)
	if err != nil {
		return err
	}
	var main bytes.Buffer
	if err := templates.ExecuteTemplate(&main, "plan", v); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return page.Write(w, page.Document{Title: v.Plan.Name + ": kmend plan", Main: template.HTML(main.String())})
}

// clean returns a copy of v, which is a JSON document, with all text cleaned.
func clean[T any](v *T) (*T, error) {
	if v == nil {
		return nil, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	page.CleanAll(out)
	return out, nil
}
