// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"fmt"

	"kmend/internal/object"
	"kmend/internal/plan"
)

// SpecOf is the module that a plan asks for.
func SpecOf(b *plan.Build) (Spec, error) {
	spec := Spec{Name: b.Plan.Name, Description: description(b.Plan), Pin: len(b.Plan.Pins) > 0}
	byName := map[string]int{}
	for _, o := range b.Plan.Objects {
		byName[o.Name] = len(spec.Objects)
		spec.Objects = append(spec.Objects, Object{Name: o.Name})
	}
	for _, piece := range b.Pieces {
		at, ok := byName[piece.Object]
		if !ok {
			return Spec{}, fmt.Errorf("make module of plan %s: a piece belongs to %s, which the plan does not patch", b.Plan.Name, piece.Object)
		}
		o := &spec.Objects[at]
		for _, f := range piece.Funcs {
			o.Funcs = append(o.Funcs, Func{OldName: f.OldName, Sympos: f.Sympos, New: f.New})
		}
		payload := Payload{Object: piece.Object, File: piece.File, Refs: map[*object.Symbol]Ref{}}
		for sym, found := range piece.Refs {
			ref := Ref{Object: found.Object, Name: found.Name, Sympos: found.Sympos, CRC: found.CRC, Namespace: found.Namespace, Target: found.Target}
			switch found.How {
			case plan.ByExport:
				ref.Kind = RefExport
			case plan.ByKlp:
				ref.Kind = RefKlp
			case plan.ByPatch:
				ref.Kind = RefPayload
			default:
				return Spec{}, fmt.Errorf("make module of plan %s: %s is to be found by %q, which is unknown", b.Plan.Name, found.Name, found.How)
			}
			payload.Refs[sym] = ref
		}
		spec.Payloads = append(spec.Payloads, payload)
	}
	return spec, nil
}

// description names the fix in modinfo.
func description(p *plan.Plan) string {
	for _, s := range p.Patches {
		if s.Subject != "" {
			return s.Subject
		}
	}
	return "live patch " + p.Name
}
