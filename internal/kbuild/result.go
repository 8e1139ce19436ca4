// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"kmend/internal/run"
)

// compileKey hashes everything that a result depends on, except the files it
// read, which are only known afterwards: the entry lists them, and they are
// checked when it is used.
func (t *Tree) compileKey(ctx context.Context, domain string, j Job) (run.Key, error) {
	cc, err := t.identity(ctx)
	if err != nil {
		return "", err
	}
	h := run.NewHasher(domain)
	h.AddString(cc, t.cfg.SourceDir, t.cfg.ObjDir)
	h.AddString(j.Command.Gcc...)
	h.AddString(j.Command.Objtool...)
	if len(j.Command.Objtool) > 0 {
		p := j.Command.Objtool[0]
		if !filepath.IsAbs(p) {
			p = filepath.Join(t.cfg.ObjDir, p)
		}
		st, err := os.Stat(p)
		if err != nil {
			return "", fmt.Errorf("compile %s: %w; the O= directory is not prepared, add the kernel again", j.Command.Source, err)
		}
		h.AddString(fmt.Sprint(st.Size(), st.ModTime().UnixNano()))
	}
	if len(j.Flags) > 0 || j.Bare {
		h.AddString(fmt.Sprint("bare ", j.Bare))
		h.AddString(j.Flags...)
	}
	for _, p := range slices.Sorted(maps.Keys(j.Overlay)) {
		h.AddString(p)
		h.Add(j.Overlay[p])
	}
	return h.Key(), nil
}

// stamp is the state of one file that a result was made from.
type stamp struct {
	Path string `json:"p"` // absolute
	Size int64  `json:"s"`
	Time int64  `json:"t"` // modification, ns
}

// meta is what a cache entry holds beside the files.
type meta struct {
	Deps     []string `json:"deps"`
	Warnings []string `json:"warnings"`
	Stamps   []stamp  `json:"stamps"`
}

// stamps records the files outside the overlay that were read.
func (b *bench) stamps() ([]stamp, error) {
	var files []string
	seen := map[string]bool{}
	for _, d := range b.deps {
		if !filepath.IsAbs(d) {
			d = b.farm.cwd + "/" + d
		}
		if rel, ok := b.farm.rel(d); ok {
			if _, replaced := b.job.Overlay[rel]; replaced {
				continue // part of the key
			}
		}
		real, err := filepath.EvalSymlinks(d)
		if err != nil {
			return nil, err
		}
		if seen[real] {
			continue
		}
		seen[real] = true
		files = append(files, real)
	}
	return stampFiles(files)
}

func stampFiles(files []string) ([]stamp, error) {
	out := make([]stamp, len(files))
	for i, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		out[i] = stamp{f, st.Size(), st.ModTime().UnixNano()}
	}
	return out, nil
}

func fresh(stamps []stamp) bool {
	for _, s := range stamps {
		st, err := os.Stat(s.Path)
		if err != nil || st.Size() != s.Size || st.ModTime().UnixNano() != s.Time {
			return false
		}
	}
	return true
}

// cachedFiles returns a stored entry whose inputs are unchanged.
func (t *Tree) cachedFiles(key run.Key) (map[string][]byte, *meta) {
	if t.Cache == nil {
		return nil, nil
	}
	files, ok, err := t.Cache.Get(key)
	if err != nil || !ok {
		return nil, nil // an unreadable cache only costs time
	}
	var m meta
	if json.Unmarshal(files["meta"], &m) != nil || !fresh(m.Stamps) {
		return nil, nil
	}
	return files, &m
}

func (t *Tree) cachedResult(key run.Key) *Result {
	files, m := t.cachedFiles(key)
	if m == nil {
		return nil
	}
	return &Result{Object: files["object"], Types: files["types"], Clones: files["clones"],
		Deps: m.Deps, Warnings: m.Warnings, Cached: true}
}

// store keeps a result. A cache that cannot be written does not fail the build,
// but is noted.
func (t *Tree) store(key run.Key, b *bench, r *Result) {
	if t.Cache == nil {
		return
	}
	err := t.storeFiles(key, b, meta{Deps: r.Deps, Warnings: r.Warnings},
		map[string][]byte{"object": r.Object, "types": r.Types, "clones": r.Clones})
	if err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the result is not kept: %v", err))
	}
}

func (t *Tree) storeFiles(key run.Key, b *bench, m meta, files map[string][]byte) error {
	var err error
	if m.Stamps, err = b.stamps(); err != nil {
		return err
	}
	if files["meta"], err = json.Marshal(m); err != nil {
		return err
	}
	return t.Cache.Put(key, files)
}
