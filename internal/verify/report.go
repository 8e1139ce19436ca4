// SPDX-License-Identifier: Apache-2.0

package verify

import "fmt"

// Finding is one thing that was found.
type Finding struct {
	Code     string   `json:"code"` // a Code constant
	Severity Severity `json:"severity"`
	Where    string   `json:"where"`            // object, function, section or symbol; "" for the whole module
	What     string   `json:"what"`             // what was found, and why it matters
	Advice   string   `json:"advice,omitempty"` // what to do
}

func (f Finding) String() string {
	s := f.Code + ": "
	if f.Where != "" {
		s += f.Where + ": "
	}
	s += f.What
	if f.Advice != "" {
		s += "; " + f.Advice
	}
	return s
}

// Report is the result of Check.
type Report struct {
	Module     *Module    `json:"module"`
	Signature  *Signature `json:"signature"` // nil: none is appended
	Taint      []Taint    `json:"taint"`     // flags that the kernel gets by the load, in bit order
	Load       Load       `json:"load"`
	Symbols    []Resolved `json:"symbols"` // what klp relocations refer to, in the order of their sections
	Checked    Counts     `json:"checked"`
	Objections []Finding  `json:"objections"`
	Warnings   []Finding  `json:"warnings"`
	Notes      []Finding  `json:"notes"`
}

// Place is where a symbol of the kernel is.
type Place struct {
	Object  string `json:"object"`            // "vmlinux", or a module
	Address string `json:"address,omitempty"` // in vmlinux: hex, as linked, without KASLR; of per-CPU data the offset in its area
	Section string `json:"section,omitempty"` // in a module
	Offset  uint64 `json:"offset"`            // in Section
	// Type is nm's letter for a symbol of vmlinux; for one of a module it is t
	// for code and d for all else.
	Type  string   `json:"type"`
	Size  uint64   `json:"size"`            // bytes to the next symbol in vmlinux, as the symbol table of a module says; 0 if not known
	Twins []string `json:"twins,omitempty"` // other names of the same place
}

func (p *Place) String() string {
	if p.Address != "" {
		return p.Address
	}
	return fmt.Sprintf("%s+%#x [%s]", p.Section, p.Offset, p.Object)
}

// Resolved is one symbol that klp relocations refer to, by the object that
// decides when they are applied.
type Resolved struct {
	Object string   `json:"object"` // the symbol's
	Name   string   `json:"name"`
	Sympos int      `json:"sympos"`
	With   string   `json:"with"`  // the relocations are applied when this object is patched
	At     []string `json:"at"`    // what they modify, SECTION+OFFSET
	Found  *Place   `json:"found"` // null if it does not resolve: an objection says why
}

// Taint is a flag of /proc/sys/kernel/tainted.
type Taint struct {
	Flag string `json:"flag"` // the letter
	Bit  int    `json:"bit"`
	Why  string `json:"why"`
}

// Counts says how much Check has looked at and found in its place.
type Counts struct {
	Functions  int `json:"functions"`   // replaced functions found in the shipped tables, with a patchable entry
	KlpSymbols int `json:"klp_symbols"` // symbols of klp relocations found there
	Exports    int `json:"exports"`     // exports found, with the kernel's CRC
	Relocs     int `json:"relocations"` // of all kinds, that the loader will apply
	OrcEntries int `json:"orc_entries"`
}

// OK reports that there is no objection.
func (r *Report) OK() bool { return len(r.Objections) == 0 }

// maxFindings bounds each list, for a hostile file could fill them for ever.
const maxFindings = 500

// find adds a finding to the list of its severity.
func (r *Report) find(code, where, advice, format string, args ...any) {
	list := &r.Objections
	severity := SeverityOf(code)
	switch severity {
	case Warning:
		list = &r.Warnings
	case Note:
		list = &r.Notes
	}
	if len(*list) < maxFindings {
		*list = append(*list, Finding{code, severity, where, fmt.Sprintf(format, args...), advice})
	}
}
