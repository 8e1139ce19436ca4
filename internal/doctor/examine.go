// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"kmend/internal/compiler"
	"kmend/internal/run"
)

// Setting is a set of flags with a name.
type Setting struct {
	Name  string   `json:"name"`
	Flags []string `json:"flags"`
	Note  string   `json:"note,omitempty"` // what the name promises and the flags do not do
}

// Result is what one probe found at one setting.
type Result struct {
	Probe   string `json:"probe"`
	About   About  `json:"about"`
	Fact    string `json:"fact"`
	Used    bool   `json:"used"`
	Shown   string `json:"shown,omitempty"`   // how the list made from names and dumps shows it; "": it does not
	Unsafe  bool   `json:"unsafe"`            // used, not shown, and more than a matter of speed
	Off     string `json:"off,omitempty"`     // flags that were tried and switch it off
	Without string `json:"without,omitempty"` // not used, but it is without these of the flags given
	Claimed string `json:"claimed,omitempty"` // what -Q says of GCC's option: enabled or disabled
	Option  string `json:"option,omitempty"`  // that option, with its dash
	Broken  string `json:"broken,omitempty"`  // why there is no verdict
}

// Examination is what all probes found at one setting.
type Examination struct {
	Setting
	Results []Result `json:"results"`
	Verdict []string `json:"verdict"` // sentences, see verdict
}

// Options say how thoroughly to examine.
type Options struct {
	Jobs     *run.Jobs             // places for compilers; nil: one per CPU
	Switches bool                  // try what switches a fact off
	Progress func(done, total int) // nil: none; may be called concurrently
}

// Examine runs all probes at one setting. The error says that the compiler does
// not work with these flags; a probe that is broken is a result.
func Examine(ctx context.Context, cc *compiler.Compiler, setting Setting, opt Options) (*Examination, error) {
	if opt.Jobs == nil {
		opt.Jobs = run.NewJobs(0)
	}
	s := &subject{cc, opt.Jobs, setting.Flags}
	hides, err := s.works(ctx)
	if err != nil {
		return nil, err
	}
	e := &Examination{Setting: setting, Results: make([]Result, len(Probes))}
	claims, err := s.claims(ctx)
	if err != nil {
		e.Note = strings.TrimPrefix(e.Note+"; "+err.Error(), "; ") // no verdict depends on them
	}
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.Jobs.N())
	for i := range Probes {
		p := &Probes[i]
		g.Go(func() error {
			r := s.probe(ctx, p, hides)
			if p.Option != "" && cc.Family == compiler.GCC {
				r.Option = "-f" + p.Option
				r.Claimed = claims[r.Option]
			}
			if opt.Switches && r.Broken == "" {
				s.switches(ctx, p, &r)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			e.Results[i] = r
			mu.Lock()
			defer mu.Unlock()
			done++
			if opt.Progress != nil {
				opt.Progress(done, len(Probes))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	e.Verdict = verdict(e.Results)
	return e, nil
}

// Broken counts the probes that gave no verdict.
func (e *Examination) Broken() int {
	n := 0
	for _, r := range e.Results {
		if r.Broken != "" {
			n++
		}
	}
	return n
}

// firstProgram tells whether the compiler works, and whether it knows noipa.
const firstProgram = `
int watch(int x) { return x; }
#ifdef __has_attribute
#if __has_attribute(noipa)
int noipa(int x) { return x; }
#endif
#endif
`

// works compiles a first program, so that what is wrong with the flags is said
// once, and returns the best way of hiding that the compiler has.
func (s *subject) works(ctx context.Context) (hiding, error) {
	m, err := s.compile(ctx, firstProgram)
	if err != nil {
		return open, err
	}
	if _, err := codeOf(m.obj, "watch"); err != nil {
		return open, err
	}
	if exact(m.obj, "noipa") != nil {
		return byNoipa, nil
	}
	return byWeak, nil
}

// probe finds out whether a fact is used. Whatever prevents a verdict is said
// in the result.
func (s *subject) probe(ctx context.Context, p *Probe, hides hiding) Result {
	r := Result{Probe: p.Name, About: p.About, Fact: p.Fact}
	m, one, two, err := s.pair(ctx, p, open)
	if err != nil {
		r.Broken = err.Error()
		return r
	}
	if r.Used = one != two; !r.Used {
		return r // what a control would prove is that a difference is due to the fact
	}
	_, hidden1, hidden2, err := s.pair(ctx, p, hides)
	switch {
	case err != nil:
		r.Broken = "control: " + err.Error()
	case hidden1 != hidden2:
		r.Broken = "control: the code differs although the compiler cannot know the fact"
	}
	if r.Broken != "" {
		r.Used = false
		return r
	}
	if r.Shown, err = shown(p, m, one); err != nil {
		r.Broken = err.Error()
		return r
	}
	r.Unsafe = r.Shown == "" && p.About != Placement
	return r
}

// switches tries what switches a fact off, or what of the flags does already. A
// flag that the compiler does not take is none.
func (s *subject) switches(ctx context.Context, p *Probe, r *Result) {
	if !r.Used {
		if p.Option != "ipa-ra" {
			return
		}
		// With -pg and the like GCC drops ipa-ra behind the scenes
		// (gcc/toplev.cc, process_options: profile_flag, flag_patchable_function_entry).
		rest, taken := withoutProfiling(s.flags)
		if len(taken) == 0 {
			return
		}
		if _, one, two, err := (&subject{s.cc, s.jobs, rest}).pair(ctx, p, open); err == nil && one != two {
			r.Without = strings.Join(taken, " ")
		}
		return
	}
	for _, off := range p.Off {
		if s.cc.Family == compiler.Clang && strings.Contains(off, "-fno-ipa-") {
			continue // Clang has no such passes, and ignores some of the flags
		}
		if _, one, two, err := s.with(strings.Fields(off)...).pair(ctx, p, open); err == nil && one == two {
			r.Off = off
			return
		}
	}
}

// withoutProfiling takes the flags away that make GCC put a call or room for
// one at the begin of each function.
func withoutProfiling(flags []string) (rest, taken []string) {
	for _, f := range flags {
		if slices.Contains([]string{"-pg", "-p", "-mfentry", "-mrecord-mcount", "-mnop-mcount"}, f) || strings.HasPrefix(f, "-fpatchable-function-entry") {
			taken = append(taken, f)
		} else {
			rest = append(rest, f)
		}
	}
	return rest, taken
}
