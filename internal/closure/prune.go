// SPDX-License-Identifier: Apache-2.0

package closure

import "kmend/internal/object"

// prune takes undefined symbols out that no relocation names any more, since
// the entries that did were dropped.
func (p *Piece) prune() {
	used := map[*object.Symbol]bool{}
	for _, s := range p.File.Sections {
		for _, r := range s.Relocs {
			used[r.Sym] = true
		}
	}
	kept := p.File.Symbols[:0]
	for _, s := range p.File.Symbols {
		if s.IsUndefined() && !used[s] {
			delete(p.Needs, s)
			continue
		}
		kept = append(kept, s)
	}
	p.File.Symbols = kept
}
