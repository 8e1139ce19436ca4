// SPDX-License-Identifier: Apache-2.0

package stock

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"kmend/internal/impact"
	"kmend/internal/impact/index"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

func request(t *testing.T, functions ...string) Request {
	t.Helper()
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Kernel: k, Tree: tree, Functions: functions}
}

// ask compiles and asks; the symbols are "name fentry" or "name no fentry".
func ask(t *testing.T, function string) (*index.Answer, []string) {
	t.Helper()
	s, err := Compile(context.Background(), request(t, function))
	if err != nil {
		t.Fatal(err)
	}
	q := s.Index.NewQuery()
	f, err := q.Find(function)
	if err != nil {
		t.Fatal(err)
	}
	a, err := q.Answer(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(a); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, y := range a.Symbols {
		if y.Missing != "" || y.SymposWhy != "" {
			t.Errorf("%s of %s: %s%s", y.Name, y.Object, y.Missing, y.SymposWhy)
		}
		text := y.Name + " " + y.Object
		if !y.Flags.Fentry() {
			text += " no fentry"
		}
		out = append(out, text)
	}
	return a, out
}

func TestInlinedStatic(t *testing.T) {
	// mm/slub.c: get_partial is called once.
	_, got := ask(t, "mm/slub.c:get_partial")
	if !slices.Equal(got, []string{"___slab_alloc vmlinux"}) {
		t.Errorf("get_partial: %q", got)
	}
}

func TestFoundByName(t *testing.T) {
	// kernel/time/timer_list.c: print_cpu is inlined, or cloned, into what shows a CPU.
	a, got := ask(t, "print_tickdevice")
	if a.Function.File != "kernel/time/timer_list.c" || len(got) == 0 {
		t.Errorf("print_tickdevice: %+v, %q", a.Function, got)
	}
}

// TestModule: the symbols of a module are looked up in the module.
func TestModule(t *testing.T) {
	_, got := ask(t, "fs/ext4/super.c:ext4_free_inodes_count")
	if !slices.Contains(got, "ext4_free_inodes_count ext4") {
		t.Errorf("ext4_free_inodes_count: %q", got)
	}
}

func TestRefusals(t *testing.T) {
	_, err := Compile(context.Background(), request(t, "kzalloc"))
	var many *TooManyError
	if !errors.As(err, &many) || many.Count < 100 || many.File != "include/linux/slab.h" || !strings.Contains(err.Error(), "--dumps") {
		t.Errorf("kzalloc: %v", err)
	}
	_, err = Compile(context.Background(), request(t, "no_such_function_anywhere"))
	if !errors.As(err, new(*impact.UnknownError)) {
		t.Errorf("a function that is not there: %v", err)
	}
	// More files define a function of that name than are worth compiling.
	q := request(t, "show")
	err = q.commands(context.Background(), "show", make([]string, maxFiles+1), nil, nil)
	var ambiguous *index.AmbiguousError
	if !errors.As(err, &ambiguous) || len(ambiguous.Candidates) != maxFiles+1 {
		t.Errorf("show: %v", err)
	}
}
