// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"fmt"
	"strings"

	"kmend/internal/object"
)

// Limits of names. The kernel parses .klp.sym names with
// ".klp.sym.%55[^.].%511[^,],%lu" (kernel/livepatch/core.c) and puts version
// records into struct modversion_info, whose name is MODULE_NAME_LEN long.
const (
	Vmlinux       = "vmlinux"
	maxObjectName = 55  // MODULE_NAME_LEN 56 with its NUL
	maxSymbolName = 511 // KSYM_NAME_LEN 512 with its NUL
	maxExportName = 55  // struct modversion_info.name
)

// Spec is everything that goes into one livepatch module. Order matters: it
// decides the layout, and equal Specs give equal modules.
type Spec struct {
	Name        string // module name, [a-z0-9_]
	Description string // for modinfo, "" for none
	Objects     []Object
	Payloads    []Payload
	Pin         bool // the module must never be unloaded: its init takes a reference to itself
	Replace     bool // klp_patch.replace: take over from all livepatches loaded before
}

// Object is one patched kernel object.
type Object struct {
	Name  string // "vmlinux" or the module's name, underscored
	Funcs []Func
}

// Func is one replaced function.
type Func struct {
	OldName string
	Sympos  int            // 0: the name is unique in the object; else its place among the entries of that name, from 1
	New     *object.Symbol // a function of a Payload of the same object, at the start of its section
}

// Payload is what one translation unit contributes: sections to load, cut
// down by the caller to what is needed.
type Payload struct {
	Object string // the patched object it belongs to
	File   *object.File
	// Refs explains every undefined symbol of File that a relocation names.
	Refs map[*object.Symbol]Ref
}

// RefKind says how a symbol outside a payload is found.
type RefKind int

const (
	// RefExport is a symbol that the kernel or a module exports: the module
	// loader finds it and compares CRCs.
	RefExport RefKind = iota + 1
	// RefKlp is any other symbol of the kernel or of a module, found by name
	// and position through .klp.sym.
	RefKlp
	// RefPayload is a symbol that another payload defines.
	RefPayload
)

// Ref says how one undefined symbol is found.
type Ref struct {
	Kind      RefKind
	Object    string // who has it: "vmlinux" or a module, underscored
	Name      string
	Sympos    int            // RefKlp: 0 unique, else position from 1
	CRC       uint32         // RefExport
	Namespace string         // RefExport: "" or the namespace to import
	Target    *object.Symbol // RefPayload
}

// Stats says what Write has put into a module.
type Stats struct {
	Size         int // bytes of the file
	Sections     int // loaded sections, relocation sections included
	Functions    int // replaced functions
	TextSize     int // bytes of .text
	Exports      int // symbols bound through exports, the glue's included
	KlpSymbols   int // .klp.sym symbols
	KlpRelocs    int // .klp relocations in all
	KlpByObject  map[string]int
	PlainRelocs  int
	BuildID      string // the module's own build id, hex
	ImportsFrom  []string
	UsesModules  []string // modules whose exports are bound plainly (modinfo depends)
	HiddenLocals int      // functions and parts whose names are kept from the kernel's symbol lookup
}

// check refuses a Spec that the kernel could not take or that contradicts itself.
func (s *Spec) check(facts *Facts) error {
	if err := moduleName(s.Name, facts); err != nil {
		return err
	}
	if strings.ContainsRune(s.Description, 0) {
		return &Error{Code: CodeName, Why: "the description contains a NUL byte"}
	}
	if len(s.Objects) == 0 {
		return &Error{Code: CodeSpec, Why: "no object is patched", Advice: "a livepatch must replace a function"}
	}
	owner := s.sectionOwners()
	seen := map[string]bool{}
	for _, o := range s.Objects {
		if seen[o.Name] {
			return &Error{Code: CodeSpec, Object: o.Name, Why: "the object is listed twice"}
		}
		seen[o.Name] = true
		if err := o.check(owner); err != nil {
			return err
		}
	}
	for _, p := range s.Payloads {
		if !seen[p.Object] {
			return &Error{Code: CodeSpec, Object: p.Object, Why: "a payload belongs to an object of which no function is replaced"}
		}
		if p.File == nil {
			return &Error{Code: CodeSpec, Object: p.Object, Why: "a payload has no file"}
		}
	}
	return nil
}

// sectionOwners maps each payload section to the object it belongs to.
func (s *Spec) sectionOwners() map[*object.Section]string {
	owner := map[*object.Section]string{}
	for _, p := range s.Payloads {
		if p.File == nil {
			continue
		}
		for _, sec := range p.File.Sections {
			owner[sec] = p.Object
		}
	}
	return owner
}

func (o *Object) check(owner map[*object.Section]string) error {
	if err := objectName(o.Name); err != nil {
		return err
	}
	if len(o.Funcs) == 0 {
		return &Error{Code: CodeSpec, Object: o.Name, Why: "no function of it is replaced"}
	}
	type key struct {
		name string
		pos  int
	}
	seen := map[key]bool{}
	placed := map[*object.Section]bool{}
	for _, f := range o.Funcs {
		if err := symbolName(o.Name, f.OldName, f.Sympos); err != nil {
			return err
		}
		k := key{f.OldName, max(f.Sympos, 1)} // 0 and 1 are the same place (klp_find_func)
		if seen[k] {
			return &Error{Code: CodeSpec, Object: o.Name, Where: f.OldName, Why: "the function is replaced twice"}
		}
		seen[k] = true
		switch {
		case f.New == nil || f.New.Section == nil || owner[f.New.Section] == "":
			return &Error{Code: CodeSpec, Object: o.Name, Where: f.OldName, Why: "its replacement is in no payload"}
		case owner[f.New.Section] != o.Name:
			return &Error{Code: CodeSpec, Object: o.Name, Where: f.OldName, Why: fmt.Sprintf("its replacement is in a payload of %s", owner[f.New.Section])}
		case !f.New.IsFunc() || !f.New.Section.IsExec():
			return &Error{Code: CodeSpec, Object: o.Name, Where: f.OldName, Why: "its replacement is no function"}
		case f.New.Value != 0 || placed[f.New.Section]:
			return &Error{Code: CodeSharedSection, Object: o.Name, Where: f.OldName,
				Why: fmt.Sprintf("its replacement shares section %s with other code", f.New.Section.Name), Advice: "compile with -ffunction-sections"}
		}
		placed[f.New.Section] = true
	}
	return nil
}

func moduleName(name string, facts *Facts) error {
	bad := func(why string) error {
		return &Error{Code: CodeName, Where: "module name " + fmt.Sprintf("%.80q", name), Why: why, Advice: "choose another name"}
	}
	limit := int(facts.Module.NameLen) - 1
	switch {
	case name == "":
		return bad("it is empty")
	case len(name) > limit || len(name) > maxObjectName:
		return bad(fmt.Sprintf("it is longer than %d characters", min(limit, maxObjectName)))
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
		return bad("only a-z, 0-9 and _ can be part of it")
	case name == Vmlinux || facts.Taken[name]:
		return bad("the kernel has a module of that name")
	}
	return nil
}

func objectName(name string) error {
	if name == "" || len(name) > maxObjectName || strings.ContainsAny(name, ".,-/ \t\n\x00") {
		return &Error{Code: CodeName, Where: fmt.Sprintf("object %.80q", name), Why: "the kernel cannot parse such an object name",
			Advice: "use the module's name with underscores, 1 to 55 characters, no dots"}
	}
	return nil
}

func symbolName(obj, name string, sympos int) error {
	if name == "" || len(name) > maxSymbolName || strings.ContainsAny(name, ", \t\n\x00") {
		return &Error{Code: CodeName, Object: obj, Where: fmt.Sprintf("symbol %.80q", name), Why: "the kernel cannot parse such a symbol name"}
	}
	if sympos < 0 {
		return &Error{Code: CodeSpec, Object: obj, Where: name, Why: fmt.Sprintf("symbol position %d is negative", sympos)}
	}
	return nil
}
