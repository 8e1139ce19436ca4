// SPDX-License-Identifier: Apache-2.0

package stock

import (
	"fmt"

	"kmend/internal/impact/index"
	"kmend/internal/kernel"
	"kmend/internal/object"
	"kmend/internal/runpre"
)

// matches are the functions of one unit in each object that it is linked into,
// by name.
type matches map[string]map[string]*runpre.FuncMatch

// Settle looks the symbols of an answer up in the kernel's image and modules:
// whether they are there, at which position, and whether their code begins with
// the call that a live patch needs.
func (s *Kernel) Settle(a *index.Answer) error {
	for i := range a.Symbols {
		y := &a.Symbols[i]
		funcs, err := s.match(y.Unit, y.Object)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", y.Name, y.Object, err)
		}
		m := funcs[y.Name]
		y.Sympos = 0
		switch {
		case m == nil || m.Verdict == runpre.Missing:
			y.Missing = "the kernel does not have it"
		case m.Verdict == runpre.Equal && m.Symbol.Sympos < 0:
			y.SymposWhy = "its position among the symbols of that name changes when init code is dropped"
			y.Flags = y.Flags.WithFentry(m.Fentry)
		case m.Verdict == runpre.Equal:
			y.Sympos, y.SymposWhy = m.Symbol.Sympos, ""
			y.Flags = y.Flags.WithFentry(m.Fentry)
		case m.Weak:
			y.Missing = "another definition overrides it"
		case m.Verdict == runpre.Ambiguous:
			y.SymposWhy = "several symbols of the kernel could be it: " + m.Why
		default:
			y.Missing = "the kernel's code is not what was compiled: " + m.Why
		}
		if y.Missing != "" {
			y.SymposWhy = y.Missing
		}
	}
	return nil
}

// match holds a unit against what runs, once.
func (s *Kernel) match(unit, in string) (map[string]*runpre.FuncMatch, error) {
	u := s.units[unit]
	if u.match == nil {
		u.match = matches{}
	}
	if m := u.match[in]; m != nil {
		return m, nil
	}
	obj, err := object.Read(u.result.Object)
	if err != nil {
		return nil, err
	}
	um, err := matchUnit(s.k, in, obj)
	if err != nil {
		return nil, err
	}
	out := map[string]*runpre.FuncMatch{}
	for sym, m := range um.Funcs {
		if out[sym.Name] == nil || m.Verdict == runpre.Equal {
			out[sym.Name] = m
		}
	}
	u.match[in] = out
	return out, nil
}

func matchUnit(k *kernel.Kernel, in string, obj *object.File) (*runpre.UnitMatch, error) {
	if in == index.Vmlinux {
		img, err := k.Image()
		if err != nil {
			return nil, err
		}
		return runpre.VmlinuxUnit(img, obj, nil)
	}
	m, err := k.Module(in)
	if err != nil {
		return nil, err
	}
	data, err := m.Data()
	if err != nil {
		return nil, err
	}
	ko, err := object.Read(data)
	if err != nil {
		return nil, err
	}
	return runpre.ModuleUnit(ko, obj, nil)
}
