// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/impact"
)

// Record is the list of one object, as it is printed and stored.
type Record struct {
	Version  int            `json:"version"`
	Object   string         `json:"object"`
	Source   string         `json:"source"`
	Compiler string         `json:"compiler"`
	Level    compiler.Level `json:"level"`
	Facts    bool           `json:"facts"`

	Functions []Function `json:"functions"`
	Alone     []string   `json:"alone,omitempty"`
	Unknown   []Unknown  `json:"unknown,omitempty"`
	Narrowed  []Narrowed `json:"narrowed,omitempty"`
}

// Function is a function whose body others depend on.
type Function struct {
	Name     string     `json:"name"`
	Impacted []Impacted `json:"impacted"`
}

// Impacted is one that must be replaced with it, and why.
type Impacted struct {
	Symbol string   `json:"symbol"`
	Chain  []Reason `json:"chain"`
}

// Reason is one step of a chain.
type Reason struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Kind   string `json:"kind"` // impact.Kind
	Detail string `json:"detail,omitempty"`
}

// Unknown is a function that was asked for and that the translation unit does
// not have.
type Unknown struct {
	Name string   `json:"name"`
	Near []string `json:"near,omitempty"`
}

// Narrowed is a parameter of which the compiler believes to know something
// from all callers, and may have compiled the function for just that.
type Narrowed struct {
	Function string   `json:"function"`
	Param    int      `json:"param"` // from 0
	Known    string   `json:"known"`
	Callers  []string `json:"callers,omitempty"`
}

// fill asks the unit for the functions that the list is of.
func (rec *Record) fill(u *impact.Unit, l *List) error {
	names := l.Funcs
	if l.All {
		names = u.Functions()
	}
	rec.Functions = []Function{}
	for _, name := range names {
		list, err := u.Impacted(name)
		var unknown *impact.UnknownError
		switch {
		case errors.As(err, &unknown):
			rec.Unknown = append(rec.Unknown, Unknown{Name: name, Near: unknown.Near})
		case err != nil:
			return err
		case len(list) == 0:
			rec.Alone = append(rec.Alone, name)
		default:
			f := Function{Name: name}
			for _, i := range list {
				f.Impacted = append(f.Impacted, Impacted{Symbol: i.Symbol, Chain: reasons(i.Chain)})
			}
			rec.Functions = append(rec.Functions, f)
		}
	}
	return nil
}

func reasons(chain []impact.Edge) []Reason {
	var out []Reason
	for _, e := range chain {
		out = append(out, Reason{From: e.From, To: e.To, Kind: e.Kind.String(), Detail: e.Detail})
	}
	return out
}

// line is the record as one line of JSON.
func (rec *Record) line() ([]byte, error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode the list: %w", err)
	}
	return append(data, '\n'), nil
}

// text is the record for people: a paragraph for each function.
func (rec *Record) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "== %s: %s, level %v", rec.Object, rec.Source, rec.Level)
	if rec.Facts {
		b.WriteString(", with facts")
	}
	b.WriteByte('\n')
	for _, f := range rec.Functions {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, count(len(f.Impacted), "impacted function"))
		for _, i := range f.Impacted {
			fmt.Fprintf(&b, "\t%s: %s\n", i.Symbol, steps(i.Chain))
		}
	}
	if len(rec.Alone) > 0 {
		fmt.Fprintf(&b, "no other function depends on: %s\n", strings.Join(rec.Alone, " "))
	}
	for _, n := range rec.Narrowed {
		fmt.Fprintf(&b, "%s relies on what its callers pass (%s): parameter %d has %s\n", n.Function, strings.Join(n.Callers, " "), n.Param, n.Known)
	}
	for _, un := range rec.Unknown {
		fmt.Fprintf(&b, "%s: not in this translation unit", un.Name)
		if len(un.Near) > 0 {
			fmt.Fprintf(&b, "; did you mean %s?", strings.Join(un.Near, ", "))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// steps is a chain in words, from the function asked for outwards.
func steps(chain []Reason) string {
	var out []string
	for _, r := range chain {
		switch r.Kind {
		case impact.Inlined.String():
			out = append(out, fmt.Sprintf("%s inlined into %s", r.From, r.To))
		case impact.Calls.String():
			out = append(out, fmt.Sprintf("%s called by %s", r.From, r.To))
		case impact.Fact.String():
			out = append(out, fmt.Sprintf("fact about %s used in %s (%s)", r.From, r.To, r.Detail))
		case impact.Recursive.String():
			out = append(out, fmt.Sprintf("%s inlined into itself", r.From))
		default:
			out = append(out, fmt.Sprintf("%s cloned as %s (%s)", r.From, r.To, r.Kind))
		}
	}
	return strings.Join(out, ", ")
}
