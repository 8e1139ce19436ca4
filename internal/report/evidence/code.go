// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"kmend/internal/kbuild"
	"kmend/internal/oracle"
	"kmend/internal/patch"
	"kmend/internal/plan"
	"kmend/internal/report/page"
)

// code is a unit that is compiled again.
type code struct {
	source        string
	functions     []*plan.Function
	outs          []*Function
	before, after *kbuild.Result
	note          string
}

// instructions compiles the units of the plan before and after the fix, as the
// plan's maker did (its results are in the cache, if it was made here), and
// shows the code of each function.
func (e *Evidence) instructions(ctx context.Context, q *Request, applied []*patch.AppliedFile) error {
	units := e.codeUnits(q.Plan)
	if len(units) == 0 {
		return nil
	}
	tree, err := kbuild.Open(q.Kernel)
	if err != nil {
		return err
	}
	overlay := map[string][]byte{}
	for _, f := range applied {
		if !f.Deleted && !f.Binary {
			overlay[f.Path], _ = f.LinePreserved()
		}
	}
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, u := range units {
		g.Go(func() error {
			if err := u.compile(gctx, tree, overlay); err != nil {
				return err
			}
			if q.Progress != nil {
				q.Progress("disassemble", int(done.Add(1)), len(units))
			}
			return u.disassemble(gctx)
		})
	}
	return g.Wait()
}

// codeUnits are the units of the functions that evidence is gathered of.
func (e *Evidence) codeUnits(p *plan.Plan) []*code {
	var units []*code
	e.each(p, func(f *plan.Function, out *Function) {
		i := slices.IndexFunc(units, func(u *code) bool { return u.source == f.Unit })
		if i < 0 {
			i = len(units)
			units = append(units, &code{source: f.Unit})
		}
		units[i].functions = append(units[i].functions, f)
		units[i].outs = append(units[i].outs, out)
	})
	for _, u := range units[min(len(units), maxUnits):] {
		for _, out := range u.outs {
			out.Note = fmt.Sprintf("The instructions are shown of the first %d units only.", maxUnits)
		}
	}
	return units[:min(len(units), maxUnits)]
}

// compile fills before and after, or the note.
func (u *code) compile(ctx context.Context, tree *kbuild.Tree, overlay map[string][]byte) error {
	commands, err := tree.Commands(ctx, []string{u.source})
	if err == nil {
		u.before, u.after, err = tree.CompilePair(ctx, kbuild.Job{Command: commands[0], Overlay: overlay})
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		u.note = "The instructions are not shown: " + firstLine(err.Error())
	}
	return nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// disassemble shows the functions of the unit.
func (u *code) disassemble(ctx context.Context) error {
	for i, f := range u.functions {
		out := u.outs[i]
		if out.Note = page.Clean(u.note, page.MaxText); u.note != "" {
			continue
		}
		var sides [2]page.Text
		var err error
		for k, r := range []*kbuild.Result{u.before, u.after} {
			var text []byte
			if text, err = oracle.Instructions(ctx, r.Object, f.Name); err != nil {
				break
			}
			sides[k].Lines = instructionLines(text)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			out.Note = page.Clean("The instructions are not shown: "+firstLine(err.Error()), page.MaxText)
		case len(sides[0].Lines) == 0 && len(sides[1].Lines) == 0:
			out.Note = page.Clean(fmt.Sprintf("The instructions are not shown: the objects compiled from %s have no function %s.", u.source, f.Name), page.MaxText)
		default:
			out.Code = page.SideBySide(sides[0], sides[1], nil)
		}
	}
	return nil
}

// instructionLines cuts the text of a disassembly into lines, each instruction
// with its relocation. The tabs that objdump sets operands off with become
// spaces.
func instructionLines(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(strings.ReplaceAll(line, "\t", " "), " \n")
		bare := strings.TrimLeft(line, " ")
		switch {
		case bare == "":
		case strings.HasPrefix(bare, "R_X86_64_") && len(out) > 0:
			out[len(out)-1] += "  ; " + bare
		default:
			out = append(out, line)
		}
	}
	return out
}
