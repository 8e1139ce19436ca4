// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/kernel"
	"kmend/internal/patch"
	"kmend/internal/plan"
	"kmend/internal/report/page"
)

// Limits on what a plan can make this package do.
const (
	maxFunctions = 400 // functions whose source and instructions are gathered
	maxUnits     = 64  // units that are compiled
)

// Request says what there is to gather from.
type Request struct {
	Plan *plan.Plan
	// Fixes are the texts of fixes by the SHA-256 of the text, in hex.
	Fixes map[string][]byte
	// Kernel is the kernel of the plan, nil if it is not there; NoKernel says why.
	Kernel   *kernel.Kernel
	NoKernel string
	Progress func(stage string, done, total int) // nil for none
}

// Evidence is what was gathered.
type Evidence struct {
	Fixes     []Fix        // as the plan's Patches
	Functions [][]Function // as the plan's Objects and their Functions
	Notes     []string     // what is missing, and what the user can do
}

// Fix is the text of a patch.
type Fix struct {
	Lines []string // nil if it is not there
	Cut   int      // lines that were left out
}

// Function is what belongs to one replaced function.
type Function struct {
	Sources []Source
	Code    *page.Sides // instructions; nil: see Note
	Note    string      // what is missing, and why
}

// Source is the definition of one function of the source before and after.
type Source struct {
	Name, File string
	Sides      *page.Sides
	Note       string // instead of Sides
}

// UnknownFixError says that a text is not of the plan.
type UnknownFixError struct {
	Name, SHA256 string
	Plan         []plan.Source
}

func (e *UnknownFixError) Error() string {
	var have []string
	for _, s := range e.Plan {
		have = append(have, fmt.Sprintf("%s (%.12s…)", s.Name, s.SHA256))
	}
	return fmt.Sprintf("use the patch %s: its SHA-256 is %.12s…, which the plan does not name; the plan is of %s: give that text, unchanged", e.Name, e.SHA256, strings.Join(have, ", "))
}

// AddFix adds a text that the user says is the plan's. The error is an
// *UnknownFixError.
func (q *Request) AddFix(name string, data []byte) error {
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	if !slices.ContainsFunc(q.Plan.Patches, func(s plan.Source) bool { return s.SHA256 == digest }) {
		return &UnknownFixError{name, digest, q.Plan.Patches}
	}
	if q.Fixes == nil {
		q.Fixes = map[string][]byte{}
	}
	q.Fixes[digest] = data
	return nil
}

// Gather gathers what can be had. The error is about the work itself, or the
// context's; whatever else is missing becomes a note.
func Gather(ctx context.Context, q Request) (*Evidence, error) {
	e := &Evidence{}
	complete := len(q.Plan.Patches) > 0
	for _, s := range q.Plan.Patches {
		data, ok := q.Fixes[s.SHA256]
		complete = complete && ok
		e.Fixes = append(e.Fixes, fixOf(data))
	}
	for _, o := range q.Plan.Objects {
		e.Functions = append(e.Functions, make([]Function, len(o.Functions)))
	}
	switch {
	case q.Kernel == nil:
		e.note("Source and instructions of the functions are not shown: %s.", q.NoKernel)
	case !complete:
		e.note("Source and instructions of the functions are not shown: they need the text of the fix, which was not given (--patch FILE).")
	default:
		return e, e.fromKernel(ctx, &q)
	}
	return e, nil
}

func (e *Evidence) note(format string, args ...any) {
	e.Notes = append(e.Notes, page.Clean(fmt.Sprintf(format, args...), page.MaxText))
}

// fixOf cuts a text into lines.
func fixOf(data []byte) Fix {
	const most = 20_000
	if data == nil {
		return Fix{}
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	f := Fix{Cut: max(len(lines)-most, 0)}
	for _, l := range lines[:len(lines)-f.Cut] {
		f.Lines = append(f.Lines, page.Clean(strings.TrimSuffix(l, "\r"), 2000))
	}
	return f
}

// fromKernel applies the fix to the kernel's source and shows what becomes of
// each function.
func (e *Evidence) fromKernel(ctx context.Context, q *Request) error {
	var parsed []*patch.Patch
	for _, s := range q.Plan.Patches {
		p, err := patch.Parse(s.Name, q.Fixes[s.SHA256])
		if err != nil {
			e.note("Source and instructions of the functions are not shown: %v.", err)
			return nil
		}
		parsed = append(parsed, p)
	}
	applied, err := patch.Apply(ctx, q.Kernel.SourceDir, parsed)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		e.note("Source and instructions of the functions are not shown: %v.", err)
		return nil
	}
	found := e.sources(q, applied.Files)
	if err := e.instructions(ctx, q, applied.Files); err != nil {
		return err
	}
	if found > maxFunctions {
		e.note("Source and instructions are shown of the first %d of %d functions.", maxFunctions, found)
	}
	return nil
}

// each calls do for the functions of the plan that evidence is gathered of.
// It returns how many the plan has.
func (e *Evidence) each(p *plan.Plan, do func(f *plan.Function, out *Function)) (found int) {
	for i := range p.Objects {
		for j := range p.Objects[i].Functions {
			if found++; found <= maxFunctions {
				do(&p.Objects[i].Functions[j], &e.Functions[i][j])
			}
		}
	}
	return found
}
