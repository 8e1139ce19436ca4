// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"regexp"
	"strings"
	"sync"

	"kmend/internal/vm/wire"
)

// trouble are the texts by which the kernel says that something is wrong, as
// its sources print them. A record that matches one, and that was not there in
// the same words before the livepatch was loaded, fails the proof.
// It is made when it is needed: it is large, and kmend cc starts once for every
// file of a build.
var trouble = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(strings.Join(troubleTexts, "|")) })

var troubleTexts = []string{
	`WARNING: `, `BUG: `, `kernel BUG at`, `\bOops\b`, `Call Trace:`, `Kernel panic`, // kernel/panic.c, lib/bug.c
	`unable to handle`, `general protection fault`, `invalid opcode`, `double fault`, `stack segment`, // arch/x86/kernel/traps.c, mm/fault.c
	`unchecked MSR access`, `corrupted stack`, `stack-protector`, `bad page`, `Bad page`, // mm/page_alloc.c
	`soft lockup`, `hard LOCKUP`, `blocked for more than`, `detected stalls`, `detected expedited stalls`, `self-detected stall`, // kernel/watchdog.c, hung_task.c, rcu/tree_stall.h
	`scheduling while atomic`, `sleeping function called`, `refcount_t: `, `UBSAN: `, `KASAN: `, `KFENCE: `, `list_(add|del) corruption`,
	`livepatch: .*(failed|refusing|unable|not found|not supported|invalid|unresolvable|incorrectly)`, // kernel/livepatch/
	`klp_.*: failed`, `is not marked as a livepatch module`, `forcing the transition`,
	`[Ss]kipping invalid relocation`, `invalid relocation target`, `Unknown rela relocation`, `overflow in relocation`, // arch/x86/kernel/module.c
	`failed to validate module .* BTF`, `BTF.*mismatch`, `BPF:.*[Ii]nvalid`, // kernel/bpf/btf.c
	`no symbol version for`, `disagrees about version`, `Unknown symbol`, `version magic`, `Invalid module format`, // kernel/module/
	`refusing to load module`, `Refcount leak`, `ftrace bug`, `------------\[ ftrace`, `ftrace failed to modify`, // kernel/trace/ftrace.c
	`static_key: `, `jump_label: Fatal`, `static_call: `, `ORC.*(bad|corrupt|missing)`, `unwind.*(bad|stack)`,
}

// Lines that trouble matches and that are none: what the kernel says when a
// livepatch does what it should.
var harmless = regexp.MustCompile(`tainting kernel|signaling remaining tasks`)

const (
	cutHere  = "------------[ cut here ]------------" // kernel/panic.c opens a warning with it
	endTrace = "---[ end trace"
)

// finding is a sign of trouble in the kernel log: one line, or one warning with
// its trace.
type finding struct {
	Text  string // the line that says what it is
	Block []string
}

// trace is the block when there is more in it than the text.
func (f finding) trace() []string {
	if len(f.Block) > 1 {
		return f.Block
	}
	return nil
}

// findings reads the kernel's own records of a log; what user space wrote into
// it is ignored.
func findings(records []wire.Record) []finding {
	var out []finding
	for i := 0; i < len(records); i++ {
		r := records[i]
		if !r.Kernel() {
			continue
		}
		if strings.Contains(r.Text, cutHere) {
			block := traceBlock(records[i:])
			out = append(out, block)
			i += len(block.Block) - 1
			continue
		}
		if trouble().MatchString(r.Text) && !harmless.MatchString(r.Text) {
			out = append(out, finding{Text: r.Text, Block: []string{r.Text}})
		}
	}
	return out
}

// traceBlock takes the records from "cut here" to "end trace". Without an end
// (the kernel died, or records are missing) only the first lines belong to it.
func traceBlock(records []wire.Record) finding {
	const most = 200
	f := finding{Text: cutHere}
	for i, r := range records[:min(len(records), most)] {
		if i > 0 && strings.Contains(r.Text, cutHere) {
			break
		}
		f.Block = append(f.Block, r.Text)
		if f.Text == cutHere && trouble().MatchString(r.Text) {
			f.Text = r.Text
		}
		if strings.Contains(r.Text, endTrace) {
			return f
		}
	}
	if len(f.Block) > 2 {
		f.Block = f.Block[:2]
	}
	return f
}

// variable is what differs between two instances of the same warning.
var variable = regexp.MustCompile(`CPU: \d+|PID: \d+|\[#\d+\]|[0-9a-f]{16}`)

func sameWords(text string) string { return variable.ReplaceAllString(text, "#") }

// unexcused returns the findings that baseline has not in the same words.
func unexcused(found, baseline []finding) (bad, excused []finding) {
	known := map[string]bool{}
	for _, f := range baseline {
		known[sameWords(f.Text)] = true
	}
	for _, f := range found {
		if known[sameWords(f.Text)] {
			excused = append(excused, f)
		} else {
			bad = append(bad, f)
		}
	}
	return bad, excused
}

// taintLetters are the taint flags by bit (kernel/panic.c, taint_flags).
const taintLetters = "PFSRMBUDAWCIOELKXTN"

// Loading an unsigned out-of-tree livepatch sets these three.
const livepatchTaint = 1<<12 | 1<<13 | 1<<15 // O, E, K

// taintNames spells taint flags as the kernel's "Tainted:" does, without blanks.
func taintNames(flags uint64) string {
	var b strings.Builder
	for i, c := range taintLetters {
		if flags&(1<<i) != 0 {
			b.WriteRune(c)
		}
	}
	if flags>>len(taintLetters) != 0 {
		b.WriteByte('?')
	}
	return b.String()
}

// lastWords finds in a console's output why a kernel ended: the panic, and the
// bug before it; "" when it says neither.
func lastWords(console string) string {
	var panicLine, bugLine string
	for line := range strings.Lines(console) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "Kernel panic - not syncing"):
			if panicLine == "" {
				panicLine = stripTime(line)
			}
		case strings.Contains(line, "BUG: ") || strings.Contains(line, "Oops: ") || strings.Contains(line, "kmend agent: "):
			if bugLine == "" {
				bugLine = stripTime(line)
			}
		}
	}
	switch {
	case panicLine != "" && bugLine != "":
		return bugLine + "; " + panicLine
	case panicLine != "":
		return panicLine
	default:
		return bugLine
	}
}

var timestamp = regexp.MustCompile(`^(<\d+>)?\[ *\d+\.\d+\] ?`)

func stripTime(line string) string { return timestamp.ReplaceAllString(line, "") }
