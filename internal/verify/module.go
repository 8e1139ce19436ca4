// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sort"
	"strings"

	"kmend/internal/klp"
	"kmend/internal/object"
)

var le = binary.LittleEndian

// Module is what a livepatch module says about itself.
type Module struct {
	Name     string      `json:"name"`         // modinfo name
	Info     []InfoTag   `json:"modinfo"`      // in order
	BuildID  string      `json:"build_id"`     // of the module's own GNU build-id note, hex; "" if it has none
	Sections []Section   `json:"-"`            // all sections, in file order
	Exports  []Export    `json:"exports"`      // undefined symbols, by name
	Symbols  []KlpSymbol `json:"-"`            // .klp.sym symbols, by object and name
	Relocs   []KlpRelocs `json:"klp_sections"` // .klp.rela sections, in file order
	// Objects are the patched objects; nil if no Facts were given.
	Objects []Object `json:"objects"`
	Replace bool     `json:"replace"` // klp_patch.replace
	// MadeAtInit: its init function makes struct klp_patch out of lists, as
	// kpatch's does.
	MadeAtInit bool    `json:"made_at_init"`
	States     []State `json:"states"` // klp_patch.states

	file   *object.File
	raw    []rawSection
	digest string // SHA-256 of the module's bytes, hex

	replaceUnknown bool // with MadeAtInit: what is stored there was not found

	bySection map[*object.Section][]*object.Symbol // see named
}

// InfoTag is one modinfo entry.
type InfoTag struct {
	Tag   string `json:"tag"`
	Value string `json:"value"`
}

// Section is one section as its header has it.
type Section struct {
	Name  string
	Type  elf.SectionType
	Flags uint64
	Size  uint64
	Align uint64
}

// Export is a symbol that the module loader has to find.
type Export struct {
	Name       string `json:"name"`
	CRC        uint32 `json:"crc"`
	HasVersion bool   `json:"has_version"` // __versions has a record of it
	Weak       bool   `json:"weak"`
	Relocs     int    `json:"relocations"` // that name it
	Object     string `json:"object"`      // what exports it in the kernel; "" if nothing does, or not looked up
}

// KlpSymbol is a symbol that the livepatch core has to find.
type KlpSymbol struct {
	Object, Name string
	Sympos       int
	Relocs       int // in .klp.rela sections
}

// KlpRelocs is one .klp.rela section.
type KlpRelocs struct {
	Section string `json:"section"` // its name
	Object  string `json:"object"`  // the object that decides when it is applied
	Target  string `json:"target"`  // the section it modifies
	Count   int    `json:"relocations"`
}

// Object is one patched object.
type Object struct {
	Name      string `json:"name"`      // "vmlinux" for NULL
	Named     bool   `json:"named"`     // the module gives it a name; false for NULL, which is vmlinux
	Callbacks bool   `json:"callbacks"` // it has callbacks
	Funcs     []Func `json:"functions"`
}

// Func is one replaced function.
type Func struct {
	OldName string `json:"old_name"`
	Sympos  uint64 `json:"sympos"`
	New     string `json:"new_name"` // name of the new function, "" if no symbol is there
	Section string `json:"section"`  // where it is in the module
	Offset  uint64 `json:"offset"`
	// Size is what the kernel will take for its size at least: the distance to
	// the next named symbol of the section, or to the section's end.
	Size uint64 `json:"size"`
	// Old is the function that is replaced; nil if it was not looked for, or
	// cannot be replaced: then an objection says why.
	Old *Place `json:"old"`

	at *object.Section // Section
}

// State is a state of the system that the livepatch changes: struct klp_state.
type State struct {
	ID      uint64 `json:"id"`
	Version uint32 `json:"version"`
}

// Limits of the kernel's parser (kernel/livepatch/core.c).
const (
	vmlinux       = klp.Vmlinux
	maxObjectName = 55
	maxSymbolName = 511
)

// Limits of what is looked at. A file beyond them is no livepatch that anybody
// made on purpose; the lists in one can refer to each other, so its size alone
// does not bound the work.
const (
	MaxSize    = 64 << 20 // bytes of a module
	maxFuncs   = 10000    // replaced functions, in all objects
	maxObjects = 500      // patched objects
	maxModules = 64       // modules of the kernel that are read for one livepatch
	maxName    = 4096     // bytes of a name in the livepatch structures
	maxStates  = 1000
)

const (
	klpRelaPrefix = ".klp.rela."
	klpSymPrefix  = ".klp.sym."
	secThis       = ".gnu.linkonce.this_module"
)

// Inspect reads a module. With the facts of its kernel the patched objects are
// decoded too; with nil, Objects stays nil. A file that is no livepatch module
// for x86-64 is an error, and so is one whose livepatch structures cannot be
// followed.
func Inspect(data []byte, facts *klp.Facts) (*Module, error) {
	m, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("read livepatch module: %w", err)
	}
	if facts != nil {
		if err := m.decode(facts); err != nil {
			return nil, fmt.Errorf("read livepatch module %s: %w", m.Name, err)
		}
	}
	return m, nil
}

func read(data []byte) (*Module, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, more than %d: strip its debug information", len(data), MaxSize)
	}
	raw, err := readHeaders(data)
	if err != nil {
		return nil, err
	}
	f, err := object.Read(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	m := &Module{file: f, raw: raw, digest: hex.EncodeToString(sum[:])}
	for _, s := range raw {
		m.Sections = append(m.Sections, Section{s.name, s.kind, s.flags, s.size, s.align})
	}
	info := f.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("it has no .modinfo: it is no kernel module")
	}
	for tag := range bytes.SplitSeq(info.Data, []byte{0}) {
		if k, v, ok := strings.Cut(string(tag), "="); ok {
			m.Info = append(m.Info, InfoTag{k, v})
		}
	}
	m.Name, _ = m.Tag("name")
	if f.Section(secThis) == nil {
		return nil, fmt.Errorf("it has no %s: it is no kernel module", secThis)
	}
	if s := f.Section(".note.gnu.build-id"); s != nil && len(s.Data) >= 16 && le.Uint32(s.Data) == 4 && string(s.Data[12:16]) == "GNU\x00" {
		if n := le.Uint32(s.Data[4:]); uint64(n) <= uint64(len(s.Data)-16) {
			m.BuildID = hex.EncodeToString(s.Data[16 : 16+n])
		}
	}
	m.readExports()
	m.readKlp()
	return m, nil
}

// Tag returns the first value of a modinfo tag.
func (m *Module) Tag(tag string) (string, bool) {
	for _, t := range m.Info {
		if t.Tag == tag {
			return t.Value, true
		}
	}
	return "", false
}

func (m *Module) tags(tag string) []string {
	var out []string
	for _, t := range m.Info {
		if t.Tag == tag {
			out = append(out, t.Value)
		}
	}
	return out
}

// eachReloc calls f for every relocation, plain ones first.
func (m *Module) eachReloc(f func(s *object.Section, x *object.RelaSection, r *object.Reloc)) {
	for _, s := range m.file.Sections {
		for i := range s.Relocs {
			f(s, nil, &s.Relocs[i])
		}
		for i := range s.Extra {
			for j := range s.Extra[i].Relocs {
				f(s, &s.Extra[i], &s.Extra[i].Relocs[j])
			}
		}
	}
}

func (m *Module) readExports() {
	versions := map[string]uint32{}
	if s := m.file.Section("__versions"); s != nil {
		for b := s.Data; len(b) >= 64; b = b[64:] {
			name, _, _ := strings.Cut(string(b[8:64]), "\x00")
			if _, dup := versions[name]; !dup { // the kernel takes the first
				versions[name] = le.Uint32(b)
			}
		}
	}
	uses := map[*object.Symbol]int{}
	m.eachReloc(func(_ *object.Section, _ *object.RelaSection, r *object.Reloc) { uses[r.Sym]++ })
	for _, s := range m.file.Symbols {
		if s.IsUndefined() {
			crc, ok := versions[s.Name]
			m.Exports = append(m.Exports, Export{Name: s.Name, CRC: crc, HasVersion: ok, Weak: elf.SymBind(s.Bind) == elf.STB_WEAK, Relocs: uses[s]})
		}
	}
	if crc, ok := versions["module_layout"]; ok {
		m.Exports = append(m.Exports, Export{Name: "module_layout", CRC: crc, HasVersion: true})
	}
	sort.SliceStable(m.Exports, func(i, j int) bool { return m.Exports[i].Name < m.Exports[j].Name })
}

func (m *Module) readKlp() {
	count := map[KlpSymbol]int{}
	for _, s := range m.file.Sections {
		for _, x := range s.Extra {
			if !isKlpRela(&x) {
				continue
			}
			obj, _ := relaObject(x.Name)
			m.Relocs = append(m.Relocs, KlpRelocs{x.Name, obj, s.Name, len(x.Relocs)})
			for _, r := range x.Relocs {
				if r.Sym != nil {
					if k, err := parseKlpSymbol(r.Sym.Name); err == nil {
						count[k]++
					}
				}
			}
		}
	}
	for k, n := range count {
		k.Relocs = n
		m.Symbols = append(m.Symbols, k)
	}
	sort.Slice(m.Symbols, func(i, j int) bool {
		a, b := m.Symbols[i], m.Symbols[j]
		if a.Object != b.Object {
			return a.Object < b.Object
		}
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.Sympos < b.Sympos
	})
}

// isKlpRela reports whether a relocation section is meant for the livepatch
// core, by its name or by its flags.
func isKlpRela(x *object.RelaSection) bool {
	return strings.HasPrefix(x.Name, klpRelaPrefix) || x.Flags&object.FlagRelaLivepatch != 0
}
