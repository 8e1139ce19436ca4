// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// FactUse says that a pass used a fact about the body of From in the code of To.
type FactUse struct {
	From, To string // assembler names
	Pass     string
	What     string
}

// NarrowedParam is something that GCC took for known about a parameter of a
// function, from all its callers, and compiled into it under the same name.
type NarrowedParam struct {
	Function string // assembler name
	Param    int    // from 0
	Known    string
	Callers  []string // sorted; filled by JoinFacts
}

// Facts is what the dumps of one compile say of facts that passes used.
type Facts struct {
	Uses     []FactUse
	Narrowed []NarrowedParam
}

// The dumps of facts: options without -fdump-. The details of the tree passes
// name each use of a summary that ipa-modref made of a callee
// (gcc/tree-ssa-alias.cc: ref_maybe_used_by_call_p_1, call_may_clobber_ref_p_1,
// stmt_kills_ref_p). They are those passes that ask these questions; the others
// name those functions that are found to be pure, const, noreturn or malloc
// (gcc/ipa-pure-const.cc), what all callers pass (gcc/ipa-prop.cc), and who
// calls whom before anything is optimised away (gcc/cgraph.cc).
const (
	graphDump = "ipa-cgraph"
	paramDump = "ipa-cp-details"
)

var factDumps = []string{
	graphDump, paramDump,
	"ipa-pure-const", "ipa-modref", "tree-local-pure-const", "tree-modref",
	"tree-fre-details", "tree-pre-details", "tree-dse-details", "tree-dce-details", "tree-cddce-details",
	"tree-dom-details", "tree-store-merging-details", "tree-tailr-details", "tree-sink-details", "tree-lim-details",
	"tree-strlen-details", "tree-ldist-details", "tree-slp-details",
	// what of a function's parameters is known, and what clones are made for it
	"tree-local-fnsummary-details", "ipa-fnsummary-details", "ipa-sra-details",
	"rtl-expand-details",
}

// FactDumps lists the dumps, as options without -fdump-, that this compiler has
// of those that ParseFacts reads. The answer is remembered, as that of Identify.
func (c *Compiler) FactDumps(ctx context.Context) ([]string, error) {
	var have []string
	err := c.remember("facts", &have, func() error {
		for _, d := range factDumps {
			ok, err := c.accepts(ctx, "-fdump-"+d+"=/dev/null")
			if err != nil {
				return err
			}
			if ok {
				have = append(have, d)
			}
		}
		for _, must := range []string{graphDump, paramDump, "tree-local-pure-const", "tree-fre-details", "tree-dse-details"} {
			if !slices.Contains(have, must) {
				return fmt.Errorf("find the facts that %s uses: it has no -fdump-%s", c, must)
			}
		}
		return c.tryFacts(ctx)
	})
	return have, err
}

// factProbe has one use of a summary and one of a function found to be const.
const factProbe = `
extern int h;
__attribute__((noinline)) void writes(int *p) { *p = h; }
int keeps(int *a, int *b) { int v = *a; int w; writes(&w); return *a + v + w + *b; }
__attribute__((noinline)) int constant(int x) { return x * 3; }
int calls(int x) { return constant(x) + constant(x + 1); }
`

// tryFacts sees whether the dumps of this compiler are understood: one that
// words them otherwise would look like one that uses no facts.
func (c *Compiler) tryFacts(ctx context.Context) error {
	var dumps []*FactDump
	for dump, option := range map[string]string{
		graphDump: graphDump, "tree-local-pure-const": "tree-local-pure-const1", "tree-fre-details": "tree-fre1-details",
	} {
		out, err := c.ask(ctx, factProbe, "-O2", "-S", "-o", "/dev/null", "-x", "c", "-", "-fdump-"+option+"=stdout")
		if err != nil {
			return err
		}
		d, err := ReadFactDump(dump, bytes.NewReader(out.Stdout))
		if err != nil {
			return err
		}
		dumps = append(dumps, d)
	}
	f, err := JoinFacts(dumps)
	if err != nil {
		return err
	}
	uses := func(from, to string) bool {
		return slices.ContainsFunc(f.Uses, func(u FactUse) bool { return u.From == from && u.To == to })
	}
	modref := c.Version[0] >= 11
	if !uses("constant", "calls") || modref && !uses("writes", "keeps") {
		return fmt.Errorf("find the facts that %s uses: its dumps do not show those of a probe; kmend does not understand this version's", c)
	}
	return nil
}

// maxFacts bounds what is kept of the dumps of one compile.
const maxFacts = 1 << 20

// FactDump is what one dump says; ReadFactDump makes it, JoinFacts joins all
// those of one compile.
type FactDump struct {
	pass     string
	nodes    map[int]string // assembler name by order
	calls    map[int][]int  // callees by caller: from the call graph only
	aliases  map[int]int    // alias to what it stands for
	defined  map[int]bool   // has a body here
	uses     []rawUse
	found    []rawFound
	narrowed []NarrowedParam
}

type rawUse struct {
	callee node
	in     string // "" where the dump does not say: in a caller
	what   string
}

type rawFound struct {
	fn   node
	what string
}

// node is a function as a dump names it. The order is -1 if it is not given.
type node struct {
	name  string
	order int
}

// ReadFactDump reads a dump to its end, which may be one of the option dump for
// many functions and many instances of a pass, one after the other. Lines that
// are of no interest are most of it.
func ReadFactDump(dump string, r io.Reader) (*FactDump, error) {
	pass := strings.TrimSuffix(dump, "-details")
	pass = pass[strings.IndexByte(pass, '-')+1:]
	d := &FactDump{pass: pass, nodes: map[int]string{}, calls: map[int][]int{}, aliases: map[int]int{}, defined: map[int]bool{}}
	g := &graphReader{d: d, at: -1}
	in := ""
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read dump %s: %w", dump, err)
		}
		switch {
		case bytes.HasPrefix(line, []byte(";; Function ")):
			if n, ok := functionHeader(string(line)); ok {
				in, d.nodes[n.order] = n.name, n.name
			}
		case dump == graphDump:
			g.line(string(line))
		case dump == paramDump:
			d.param(in, string(line))
			d.fact("", line)
		case strings.HasPrefix(dump, "ipa-"): // for all functions at a time
			d.fact("", line)
		default:
			d.fact(in, line)
		}
		if len(d.uses)+len(d.found)+len(d.narrowed)+len(d.nodes) > maxFacts {
			return nil, fmt.Errorf("read dump %s: more than %d facts", dump, maxFacts)
		}
		if err != nil {
			return d, nil
		}
	}
}

// readLine returns the next line; of one that is longer than the buffer, the
// beginning.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	line = bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = br.ReadSlice('\n')
	}
	return line, err
}

// functionHeader reads ";; Function name (asm, funcdef_no=1, …, symbol_order=4)"
// (gcc/tree-pretty-print.cc: dump_function_header).
func functionHeader(line string) (node, bool) {
	_, rest, _ := strings.Cut(line, " (")
	name, rest, ok := strings.Cut(rest, ", funcdef_no=")
	_, order, ok2 := strings.Cut(rest, "symbol_order=")
	n := len(order) - len(strings.TrimLeft(order, "0123456789"))
	i, err := strconv.Atoi(order[:n])
	return node{strings.TrimPrefix(name, "*"), i}, ok && ok2 && err == nil
}

var (
	modrefMark = []byte("ipa-modref: call to ")
	foundMark  = []byte("found to be ")
)

// fact notes what a line says of a fact.
func (d *FactDump) fact(in string, line []byte) {
	for rest := line; ; {
		_, after, ok := bytes.Cut(rest, modrefMark)
		if !ok {
			break
		}
		rest = after
		name, what, _ := strings.Cut(string(after), " ")
		what, _, _ = strings.Cut(what, "ipa-modref: ")
		switch { // the reference that follows is of no use without the source
		case strings.HasPrefix(what, "does not clobber"):
			what = "does not write what is kept over the call"
		case strings.HasPrefix(what, "does not use"):
			what = "does not read what is written before the call"
		case strings.HasPrefix(what, "kills"):
			what = "overwrites what is written before the call"
		default:
			what = "what it reads and writes"
		}
		d.uses = append(d.uses, rawUse{parseRef(name), in, what})
	}
	before, after, ok := bytes.Cut(line, foundMark)
	if !ok {
		return
	}
	what, name, _ := strings.Cut(strings.TrimSpace(string(after)), ": ")
	if name == "" { // Function NAME found to be malloc
		name = strings.TrimPrefix(strings.TrimSpace(string(before)), "Function ")
	}
	for _, k := range []string{"pure", "const", "noreturn", "malloc"} {
		if strings.HasSuffix(what, k) {
			d.found = append(d.found, rawFound{parseRef(name), "found to be " + what})
		}
	}
}

// param notes what is known of a parameter. These lines are printed when the
// function is changed by it, below its header (ipcp_transform_function).
func (d *FactDump) param(in, line string) {
	for _, mark := range []string{"Adjusting mask for param ", "Setting value range of param ", "Adjusting align for param ", "Adjusting alignment for param "} {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), mark)
		if !ok || in == "" {
			continue
		}
		number, known, _ := strings.Cut(rest, " ")
		i, err := strconv.Atoi(number)
		if err != nil {
			continue
		}
		if strings.HasPrefix(known, "(now ") {
			_, known, _ = strings.Cut(known, ") ")
		}
		word := "bits "
		if strings.HasPrefix(mark, "Setting") {
			word = "range "
		}
		d.narrowed = append(d.narrowed, NarrowedParam{Function: in, Param: i, Known: word + strings.TrimPrefix(known, "to ")})
	}
}

// parseRef reads NAME/ORDER, or NAME.
func parseRef(s string) node {
	s = strings.TrimPrefix(s, "*")
	if i := strings.LastIndexByte(s, '/'); i > 0 {
		if order, err := strconv.Atoi(s[i+1:]); err == nil {
			return node{s[:i], order}
		}
	}
	return node{s, -1}
}

// graphReader reads the first table of a call graph dump: for each symbol a
// line "asm/4 (name) @0x…", then indented fields.
type graphReader struct {
	d    *FactDump
	at   int // order of the symbol that fields belong to, -1 for none
	done bool
}

func (g *graphReader) line(line string) {
	line = strings.TrimRight(line, "\n")
	switch {
	case g.done:
	case strings.HasPrefix(line, "Removing unused symbols"), strings.HasPrefix(line, "Reclaimed Symbol table"):
		g.done = len(g.d.nodes) > 0 // what follows has functions missing
	case !strings.HasPrefix(line, " "):
		ref, _, ok := strings.Cut(line, " (")
		if n := parseRef(ref); ok && n.order >= 0 && strings.Contains(line, ") @") {
			g.at, g.d.nodes[n.order] = n.order, n.name
		}
	case strings.HasPrefix(line, "  Type: function definition"):
		g.d.defined[g.at] = true
	case g.at >= 0 && strings.HasPrefix(line, "  Calls: "):
		for _, f := range strings.Fields(line[len("  Calls: "):]) {
			if n := parseRef(f); n.order >= 0 {
				g.d.calls[g.at] = append(g.d.calls[g.at], n.order)
			}
		}
	case g.at >= 0 && strings.HasPrefix(line, "  References: "):
		fields := strings.Fields(line[len("  References: "):])
		for i := 0; i+1 < len(fields); i++ {
			n := parseRef(fields[i])
			switch {
			case n.order < 0:
			case fields[i+1] == "(alias)":
				g.d.aliases[g.at] = n.order
			case fields[i+1] == "(addr)": // it may call what it has the address of
				g.d.calls[g.at] = append(g.d.calls[g.at], n.order)
			}
		}
	}
}
