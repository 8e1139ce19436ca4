// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// mutation is a change of one token, or of one statement, of a text.
type mutation struct {
	from, to int
	text     string
}

// operators are what a token becomes.
var operators = map[string]string{
	"==": "!=", "!=": "==", "<=": "<", ">=": ">", "<": "<=", ">": ">=", "&&": "||", "||": "&&", "+": "-", "-": "+", "&": "|", "|": "&", "<<": ">>", ">>": "<<",
	"+=": "-=", "|=": "&=", "++": "--",
}

// callees are functions of the same type.
var callees = map[string]string{
	"mutex_lock": "mutex_unlock", "mutex_unlock": "mutex_lock", "raw_spin_lock": "raw_spin_unlock", "down_read": "down_write", "up_read": "up_write",
	"drop_slab": "lru_add_drain_all", "iput": "ihold", "__iget": "ihold", "rcu_read_lock": "rcu_read_unlock", "wake_up_state": "try_to_wake_up", "fput": "mutex_lock",
}

var (
	operatorToken  = regexp.MustCompile(` (==|!=|<=|>=|<<|>>|<|>|&&|\|\||\+=|\|=|\+|-|&|\|) |\w(\+\+)`)
	constantToken  = regexp.MustCompile(`[ (\[](\d+)[;),\] ]`)
	conditionToken = regexp.MustCompile(`\b(?:if|while) \(()`)
	twoArguments   = regexp.MustCompile(`\w\(((\w+), (\w+))\)`)
	statementLine  = regexp.MustCompile(`(?m)^\t+(\w[^\n;{}]*[)+]);$`)
	calleeToken    = regexp.MustCompile(`\b(\w+)\(`)
)

// mutations are all that a text offers in its function bodies.
func mutations(text string) []mutation {
	var out []mutation
	add := func(from, to int, s string) { out = append(out, mutation{from, to, s}) }
	for _, body := range regexp.MustCompile(`(?ms)^\{$.*?^\}`).FindAllStringIndex(text, -1) {
		b, at := text[body[0]:body[1]], body[0]
		for _, m := range operatorToken.FindAllStringSubmatchIndex(b, -1) {
			i := 2
			if m[i] < 0 {
				i = 4
			}
			add(at+m[i], at+m[i+1], operators[b[m[i]:m[i+1]]])
		}
		for _, m := range constantToken.FindAllStringSubmatchIndex(b, -1) {
			n, err := strconv.Atoi(b[m[2]:m[3]])
			if err == nil {
				add(at+m[2], at+m[3], strconv.Itoa(n+1))
				add(at+m[2], at+m[3], strconv.Itoa(n-1))
			}
		}
		for _, m := range conditionToken.FindAllStringSubmatchIndex(b, -1) {
			add(at+m[2], at+m[3], "!")
		}
		for _, m := range twoArguments.FindAllStringSubmatchIndex(b, -1) {
			add(at+m[2], at+m[3], b[m[6]:m[7]]+", "+b[m[4]:m[5]])
		}
		for _, m := range statementLine.FindAllStringSubmatchIndex(b, -1) {
			add(at+m[2], at+m[3], "")
		}
		for _, m := range calleeToken.FindAllStringSubmatchIndex(b, -1) {
			if to := callees[b[m[2]:m[3]]]; to != "" {
				add(at+m[2], at+m[3], to)
			}
		}
	}
	return out
}

// proved is an extraction that was proved identical.
type proved struct {
	m     *maker
	s     *side
	whole *attempt
}

func newProved(t *testing.T, k *kernel.Kernel, specs ...plan.FunctionSpec) *proved {
	t.Helper()
	b := asked(t, k, specs...)
	m := makerOf(t, k, b)
	built := b.Built()
	s, err := m.side(t.Context(), &built[0], true)
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.best(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if a.score() != 0 || !a.object.TextEqual {
		t.Fatalf("%s is not identical: %+v, text equal %t", built[0].Source, a.proofs, a.object.TextEqual)
	}
	return &proved{m, s, a}
}

// mutate compiles and proves one mutation. counts is false for one that GCC does
// not take, or compiles to the same code.
func (x *proved) mutate(t *testing.T, mu mutation) (proofs []plan.Proof, counts bool) {
	t.Helper()
	was := x.whole.file.Marked
	text := append(append(append([]byte{}, was[:mu.from]...), mu.text...), was[mu.to:]...)
	file := *x.whole.file
	file.Marked = text
	a := &attempt{file: &file}
	job := x.m.job(x.s, text)
	job.Flags = []string{"-w"}
	var err error
	a.result, err = x.m.tree.Compile(t.Context(), job)
	var refused *kbuild.CompileError
	if errors.As(err, &refused) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.result.Object, x.whole.result.Object) {
		return nil, false
	}
	if err := x.m.object(t.Context(), x.s, a); err != nil {
		t.Fatal(err)
	}
	if a.object.TextEqual {
		t.Errorf("%q: the texts are said to be equal", mu.text)
	}
	a.proofs, err = x.m.build.Prove(t.Context(), a.object, true)
	if err != nil {
		t.Fatal(err)
	}
	return a.proofs, true
}

// Whatever one token changes of the code is caught: no function's proof may call
// that identical, or explain it.
func TestMutationsAreCaught(t *testing.T) {
	const want = 40
	k := kerneltest.Open(t)
	var subjects []*proved
	var all []struct{ subject, mutation int }
	var lists [][]mutation
	for i, specs := range [][]plan.FunctionSpec{
		{{File: "fs/drop_caches.c", Name: "drop_caches_sysctl_handler"}, {File: "fs/drop_caches.c", Name: "drop_pagecache_sb"}},
		{{File: "kernel/freezer.c", Name: "__set_task_frozen"}, {File: "kernel/freezer.c", Name: "freezing_slow_path"}},
		{{File: "fs/proc/cmdline.c", Name: "cmdline_proc_show"}},
	} {
		x := newProved(t, k, specs...)
		subjects = append(subjects, x)
		lists = append(lists, mutations(string(x.whole.file.Marked)))
		for j := range lists[i] {
			all = append(all, struct{ subject, mutation int }{i, j})
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	counted, same := 0, 0
	for _, at := range all {
		if counted == want {
			break
		}
		x, mu := subjects[at.subject], lists[at.subject][at.mutation]
		proofs, counts := x.mutate(t, mu)
		if !counts {
			same++
			continue
		}
		counted++
		caught := false
		for _, p := range proofs {
			caught = caught || p.Verdict == plan.ProofUnexplained
		}
		if !caught {
			was := x.whole.file.Marked
			line := bytes.Count(was[:mu.from], []byte("\n"))
			t.Errorf("%s: %q for %q in %q is not caught: %+v", x.s.u.Source, mu.text, was[mu.from:mu.to], strings.Split(string(was), "\n")[line], proofs)
		}
	}
	t.Logf("%d mutations counted, %d that GCC refuses or compiles to the same code, of %d", counted, same, len(all))
	if counted < want {
		t.Errorf("%d mutations count, want %d of %d", counted, want, len(all))
	}
}
