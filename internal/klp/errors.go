// SPDX-License-Identifier: Apache-2.0

package klp

import "strings"

// Codes of Error. They are stable: documents and scripts may rely on them.
const (
	CodeName                   = "bad-name"                 // module, object, function or symbol name the kernel cannot parse or already has
	CodeSpec                   = "bad-spec"                 // Spec contradicts itself
	CodeUnresolved             = "unresolved-symbol"        // a reference that Payload.Refs does not explain
	CodeSection                = "unknown-section"          // a section that has no place in a livepatch module
	CodeEntry                  = "broken-special-section"   // special section that is no whole number of entries
	CodeRelocation             = "unsupported-relocation"   // relocation type, place or target the module loader rejects
	CodeModuleSpecialReference = "module-special-reference" // reference to a module's symbol where the kernel needs it before that module is there
	CodeSharedSection          = "function-not-alone"       // replaced function that does not begin its own section
	CodeCRC                    = "conflicting-crc"          // one export with two CRCs
)

// Error is what Write returns when it will not write a module.
type Error struct {
	Code   string // one of the Code constants
	Object string // patched object, "" if none
	Where  string // section and offset or symbol, "" if none
	Why    string // one clause
	Advice string // what to do
}

// Error returns place, reason and advice in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("write livepatch module: ")
	for _, s := range []string{e.Object, e.Where} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	b.WriteString(e.Why)
	if e.Advice != "" {
		b.WriteString("; " + e.Advice)
	}
	return b.String()
}
