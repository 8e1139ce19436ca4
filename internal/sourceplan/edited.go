// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"kmend/internal/delta"
	"kmend/internal/extract"
	"kmend/internal/kernel"
	"kmend/internal/plan"
)

// maxEdited bounds what is read of a file of an extracted directory.
const maxEdited = 64 << 20

// EditError says why the edits of an extracted file cannot be put back into the
// kernel's source.
type EditError struct {
	File string
	Line int // of the edited file; 0 if it is about all of it
	Why  string
}

func (e *EditError) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("put the edits of %s back into the kernel's source: %s", where, e.Why)
}

// Extracted reads which functions a directory was extracted for. The error says
// what to do if the directory is of a fix or of another kernel.
func Extracted(k *kernel.Kernel, dir string) ([]plan.FunctionSpec, error) {
	data, err := readEdited(filepath.Join(dir, "plan.json"))
	if err != nil {
		return nil, err
	}
	var p plan.Plan
	if err := json.Unmarshal(data, &p); err != nil || p.Version != plan.FormatVersion || p.Way != plan.WaySource {
		return nil, &EditError{File: dir, Why: "its plan.json is not one that kmend extract of this version left"}
	}
	if len(p.Patches) > 0 {
		return nil, &EditError{File: dir, Why: "it was extracted from a fix: edit the fix, and extract again"}
	}
	if p.Kernel.BuildID != k.BuildID {
		return nil, &EditError{File: dir, Why: fmt.Sprintf("it was extracted from kernel %s, build id %s: name that one with -k, or extract again", p.Kernel.Name, p.Kernel.BuildID)}
	}
	var out []plan.FunctionSpec
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			if s := (plan.FunctionSpec{File: f.Unit, Name: delta.Source(f.Name)}); f.Reason.Kind == plan.Requested && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	if len(out) == 0 {
		return nil, &EditError{File: dir, Why: "its plan names no function that was asked for"}
	}
	return out, nil
}

func readEdited(file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err == nil && st.Size() > maxEdited {
		err = fmt.Errorf("%s is larger than %d bytes", file, maxEdited)
	}
	if err != nil {
		return nil, fmt.Errorf("read an extracted directory: %w", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read an extracted directory: %w", err)
	}
	return data, nil
}

// Fix is the patch of the kernel's source that the edits of a directory mean. r
// is what extraction makes of the same functions now, so that only edits differ.
func (r *Result) Fix(k *kernel.Kernel, dir string) ([]byte, error) {
	sources := map[string]*edited{}
	for _, f := range r.Write(k) {
		text, err := readEdited(filepath.Join(dir, f.Name))
		if err != nil {
			return nil, err
		}
		if bytes.Equal(text, f.Data) || f.Name == "README" || f.Name == "Kbuild" {
			continue
		}
		e := &edits{file: f.Name, sources: sources, k: k, unit: r.unitOf(f.Name)}
		if e.unit == nil {
			return nil, &EditError{File: f.Name, Why: "it only registers what the other files define: leave it as it is"}
		}
		if err := e.collect(f.Data, text); err != nil {
			return nil, err
		}
	}
	var names []string
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		out.Write(sources[name].patch())
	}
	return out.Bytes(), nil
}

func (r *Result) unitOf(file string) *Unit {
	for _, u := range r.Units {
		if u.Object.File == file {
			return u
		}
	}
	return nil
}

// edited is a file of the kernel's source with edits.
type edited struct {
	name  string
	lines []string
	// replace gives for a line (from 1) what takes its place; before what stands
	// in front of it, one line behind the last being possible.
	replace map[int][]string
	before  map[int][]string
}

func (s *edited) patch() []byte {
	var after strings.Builder
	for i := 1; i <= len(s.lines)+1; i++ {
		after.WriteString(strings.Join(s.before[i], ""))
		if i > len(s.lines) {
			break
		}
		if with, ok := s.replace[i]; ok {
			after.WriteString(strings.Join(with, ""))
		} else {
			after.WriteString(s.lines[i-1])
		}
	}
	d := diff.Diff("a/"+s.name, []byte(strings.Join(s.lines, "")), "b/"+s.name, []byte(after.String()))
	_, d, _ = bytes.Cut(d, []byte("\n")) // its first line names the command diff
	return d
}

// edits are those of one extracted file.
type edits struct {
	file    string
	k       *kernel.Kernel
	unit    *Unit
	sources map[string]*edited
	origins []extract.Origin // by line of the file as extracted
}

var hunkHead = regexp.MustCompile(`^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,\d+)? @@`)

// collect finds the edits between a file as extracted and as it is now.
func (e *edits) collect(was, is []byte) error {
	head := bytes.Count(was[:bytes.Index(was, e.unit.File.Text)], []byte("\n"))
	e.origins = append(make([]extract.Origin, head), e.unit.File.Origins...)
	var oldLine, newLine, first int
	var gone, come []string
	at := 0
	flush := func() error {
		if len(gone) == 0 && len(come) == 0 {
			return nil
		}
		err := e.edit(first, at, gone, come)
		gone, come = nil, nil
		return err
	}
	for line := range strings.Lines(string(diff.Diff("was", was, "is", is))) {
		if m := hunkHead.FindStringSubmatch(line); m != nil {
			if err := flush(); err != nil {
				return err
			}
			fmt.Sscan(m[1], &oldLine)
			fmt.Sscan(m[3], &newLine)
			continue
		}
		if oldLine == 0 || line == "" {
			continue
		}
		switch line[0] {
		case ' ':
			if err := flush(); err != nil {
				return err
			}
			oldLine++
			newLine++
		case '-', '+':
			if len(gone) == 0 && len(come) == 0 {
				first, at = oldLine, newLine
			}
			if line[0] == '-' {
				gone = append(gone, line[1:])
				oldLine++
			} else {
				come = append(come, line[1:])
				newLine++
			}
		}
	}
	return flush()
}

func (e *edits) origin(line int) extract.Origin {
	if line < 1 || line > len(e.origins) {
		return extract.Origin{}
	}
	return e.origins[line-1]
}

// edit puts one edit, at a line of the file as extracted (and now), into the
// source.
func (e *edits) edit(line, now int, gone, come []string) error {
	for i := range come {
		come[i] = e.plain(come[i])
	}
	if len(gone) == 0 {
		o, behind := e.origin(line-1), 1
		if o.Line == 0 {
			o, behind = e.origin(line), 0
		}
		if o.Line == 0 {
			return &EditError{File: e.file, Line: now, Why: "no line of the kernel's source is beside it; put new code right before or behind a copied piece, without an empty line between"}
		}
		s, err := e.source(o.File)
		if err != nil {
			return err
		}
		s.before[o.Line+behind] = append(s.before[o.Line+behind], come...)
		return nil
	}
	first := e.origin(line)
	for i := range gone {
		if o := e.origin(line + i); o.Line == 0 || o.File != first.File || o.Line != first.Line+i {
			return &EditError{File: e.file, Line: now, Why: fmt.Sprintf("%q is not a line of the kernel's source, or a condition (#if) is between: only copied pieces can be edited", strings.TrimSpace(gone[i]))}
		}
	}
	s, err := e.source(first.File)
	if err != nil {
		return err
	}
	for i := range gone {
		orig := s.lines[first.Line+i-1]
		if strings.HasPrefix(orig, "static ") && !strings.HasPrefix(gone[i], "static ") && i < len(come) && !strings.HasPrefix(come[i], "static ") {
			come[i] = "static " + come[i] // extraction took it away
		}
		s.replace[first.Line+i] = nil
	}
	s.replace[first.Line] = come
	return nil
}

// plain gives replaced functions their own names.
func (e *edits) plain(line string) string {
	for name := range e.unit.Object.Renamed {
		line = regexp.MustCompile(`\b`+extract.Prefix+name+`\b`).ReplaceAllString(line, name)
	}
	return line
}

func (e *edits) source(name string) (*edited, error) {
	if s := e.sources[name]; s != nil {
		return s, nil
	}
	data, err := os.ReadFile(filepath.Join(e.k.SourceDir, name))
	if err != nil {
		return nil, fmt.Errorf("read the source of the kernel: %w", err)
	}
	s := &edited{name: name, lines: slices.Collect(strings.Lines(string(data))), replace: map[int][]string{}, before: map[int][]string{}}
	e.sources[name] = s
	return s, nil
}

// SameBodies reports whether the functions that are replaced have in a directory
// the very text that they have in r, which was extracted again from the source
// with the directory's edits: so nothing went to another place than it should.
func (r *Result) SameBodies(dir string) error {
	var texts []string
	for _, u := range r.Units {
		texts = append(texts, string(u.File.Text))
	}
	now := strings.Join(texts, "\n")
	files, err := filepath.Glob(filepath.Join(dir, "*.c"))
	if err != nil {
		return fmt.Errorf("read an extracted directory: %w", err)
	}
	for _, file := range files {
		text, err := readEdited(file)
		if err != nil {
			return err
		}
		for _, m := range defined.FindAllStringSubmatchIndex(string(text), -1) {
			name, body := string(text[m[2]:m[3]]), bodyFrom(string(text[m[0]:]))
			again := -1
			for _, n := range defined.FindAllStringSubmatchIndex(now, -1) {
				if now[n[2]:n[3]] == name {
					again = n[0]
				}
			}
			if again < 0 || body == "" || bodyFrom(now[again:]) != body {
				return &EditError{File: filepath.Base(file), Why: fmt.Sprintf("with its edits in the source, %s does not come out as it is here; write the fix as a patch", name)}
			}
		}
	}
	return nil
}

// defined finds the line that begins the definition of a replaced function.
var defined = regexp.MustCompile(`(?m)^[A-Za-z_][^;{}=#"]*?\b(` + extract.Prefix + `\w+)\([^;{}]*\n?\{\n`)

// bodyFrom is the body of the definition at the start of a text.
func bodyFrom(text string) string {
	_, rest, ok := strings.Cut(text, "{\n")
	body, _, end := strings.Cut(rest, "\n}\n")
	if !ok || !end {
		return ""
	}
	return body
}
