// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/run"
)

// storedIncludes is the graph of a source tree as it is kept: text once, the
// rest by number.
type storedIncludes struct {
	Files, Names string   // lines
	Count        []uint32 // for each file, how many of Refs are its
	Refs         []uint32 // number of the name, times 4, plus the kind
	Open         []string
}

// graphID names what a stored graph depends on. The source of an added kernel
// does not change; its top makefile, which has the version, stands for it.
func (t *Tree) graphID() (string, error) {
	h := run.NewHasher("include graph 1")
	h.AddString(t.cfg.SourceDir, t.cfg.ObjDir)
	for _, f := range []string{filepath.Join(t.cfg.SourceDir, "Makefile"), filepath.Join(t.cfg.ObjDir, "include/config/auto.conf")} {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", fmt.Errorf("search the source for #include: %w", err)
		}
		h.Add(data)
	}
	return string(h.Key())[:24], nil
}

func (t *Tree) graphFile(id string) string { return filepath.Join(t.cfg.StateDir, "includes-"+id) }

// storedGraph returns the graph that was kept, nil if there is none that is
// whole.
func (t *Tree) storedGraph(id string) *includeGraph {
	data, err := os.ReadFile(t.graphFile(id))
	if err != nil || len(data) < sha256.Size {
		return nil
	}
	sum := sha256.Sum256(data[sha256.Size:])
	if !bytes.Equal(sum[:], data[:sha256.Size]) {
		return nil
	}
	var s storedIncludes
	if gob.NewDecoder(bytes.NewReader(data[sha256.Size:])).Decode(&s) != nil {
		return nil
	}
	g := &includeGraph{files: strings.Split(s.Files, "\n"), open: s.Open}
	names := strings.Split(s.Names, "\n")
	if len(g.files) != len(s.Count) {
		return nil
	}
	g.includes = make([][]include, len(g.files))
	all := make([]include, len(s.Refs))
	for i, r := range s.Refs {
		if int(r/4) >= len(names) {
			return nil
		}
		all[i] = include{includeKind(r % 4), names[r/4]}
	}
	for i, n := range s.Count {
		if int(n) > len(all) {
			return nil
		}
		g.includes[i], all = slices.Clip(all[:n]), all[n:]
	}
	return g
}

func (t *Tree) storeGraph(id string, g *includeGraph) error {
	s := storedIncludes{Files: strings.Join(g.files, "\n"), Open: g.open}
	ids := map[string]uint32{}
	var names []string
	for _, incs := range g.includes {
		s.Count = append(s.Count, uint32(len(incs)))
		for _, inc := range incs {
			n, ok := ids[inc.name]
			if !ok {
				n = uint32(len(names))
				ids[inc.name] = n
				names = append(names, inc.name)
			}
			s.Refs = append(s.Refs, n*4+uint32(inc.kind))
		}
	}
	s.Names = strings.Join(names, "\n")
	var b bytes.Buffer
	b.Write(make([]byte, sha256.Size))
	if err := gob.NewEncoder(&b).Encode(&s); err != nil {
		return fmt.Errorf("remember the source's #include: %w", err)
	}
	sum := sha256.Sum256(b.Bytes()[sha256.Size:])
	copy(b.Bytes(), sum[:])
	return writeWhole(t.graphFile(id), b.Bytes())
}
