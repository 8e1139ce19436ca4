// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/vm"
)

// cycles is how much the tests of reliability do: $KMEND_TEST_CYCLES times a
// live patch is loaded and unloaded, and from fullCount on every point is
// visited at which something can break, not a sample. scripts/reliability asks
// for all.
func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KMEND_TEST_CYCLES")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KMEND_TEST_CYCLES is %q", text)
	}
	return n
}

const fullCount = 100

// guestHelper compiles a program of testdata/guest for the guest.
func guestHelper(t *testing.T, k *kernel.Kernel, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	if text, err := exec.Command(k.Compiler, "-Wall", "-static", "-O1", "-o", out, "testdata/guest/"+name+".c").CombinedOutput(); err != nil {
		t.Fatalf("compile the guest's helper: %v\n%s", err, text)
	}
	return out
}

// reliable is a host of which much is asked: only what fails is told.
type reliable struct {
	*hosted
	wrong []string // of the kernel log
}

// cmdlineEnd ends the command line of every guest's kernel.
const cmdlineEnd = "no_timer_check"

func bootReliable(t *testing.T, k *kernel.Kernel, change func(*vm.Machine), files ...string) *reliable {
	t.Helper()
	h := bootHost(t, k, change, files...)
	return &reliable{hosted: h}
}

// ask runs a command and returns its exit code and what it said.
func (r *reliable) ask(command string) (int, string) {
	r.t.Helper()
	res, err := r.g.Shell(r.t.Context(), 5*time.Minute, command)
	if err != nil {
		r.t.Fatalf("%s: %v", command, err)
	}
	if res.TimedOut || res.Cut {
		r.t.Fatalf("%s: timed out %t, cut %t:\n%s", command, res.TimedOut, res.Cut, res.Output)
	}
	return res.Exit, res.Output
}

// must is ask for a command that exits with 0 and says words.
func (r *reliable) must(command string, words ...string) string {
	r.t.Helper()
	code, out := r.ask(command)
	if code != 0 {
		r.t.Fatalf("%s: exit %d:\n%s", command, code, out)
	}
	r.want(command, out, words...)
	return out
}

// bad is what a kernel says when something is wrong, and what it says of a live
// patch that it does not take.
var bad = regexp.MustCompile(`WARNING:|BUG:|Oops|Call Trace|Kernel panic|general protection|unable to handle|invalid opcode|stack segment|` +
	`possible recursive locking|suspicious RCU|circular locking|blocked for more than|lockup|LOCKUP|stall|refcount_t|corruption|[Bb]ad page|` +
	`scheduling while atomic|sleeping function|ftrace bug|failed to modify|static_key|jump_label|livepatch: .*(failed|refusing|unable)|refusing to load`)

// readLog reads on in the kernel's log, keeps what is wrong, and counts what
// must be counted.
func (r *reliable) readLog(count map[string]int) {
	r.t.Helper()
	records, lost, err := r.g.Log(r.t.Context())
	if err != nil || lost > 0 {
		r.t.Fatalf("%d records of the kernel log are lost, %v", lost, err)
	}
	for _, rec := range records {
		if !rec.Kernel() {
			continue
		}
		if bad.MatchString(rec.Text) {
			r.wrong = append(r.wrong, rec.Text)
		}
		for text := range count {
			if strings.Contains(rec.Text, text) {
				count[text]++
			}
		}
	}
}

// end: the log says nothing that is wrong, and nothing of ours is left.
func (r *reliable) end() {
	r.t.Helper()
	r.readLog(nil)
	if len(r.wrong) > 0 {
		r.t.Errorf("the kernel log has:\n%s", strings.Join(r.wrong, "\n"))
	}
	if out := r.must(leftovers); out != "" {
		r.t.Errorf("left over:\n%s", out)
	}
	if err := r.g.Finish(r.t.Context()); err != nil {
		r.t.Error(err)
	}
}

// leftovers prints what must not be there when no live patch is loaded.
const leftovers = `grep livepatch_ /proc/modules; ls /sys/kernel/livepatch; cat /sys/kernel/tracing/enabled_functions; ls -A /run/kmend/loaded 2>/dev/null
find /run/kmend /var/lib/kmend -name '.new-*' 2>/dev/null; true`

// fixes with a behaviour that crowd, or a file, shows.
var (
	pipeFix  = sub("fs/pipe.c", "\t/* Null read succeeds. */\n", "\tif (unlikely(total_len == 0x70000000))\n\t\treturn -EDOM;\n\t/* Null read succeeds. */\n")
	sleepFix = sub("kernel/time/hrtimer.c", "\tret = do_nanosleep(&t, mode);\n\tif (ret != -ERESTART_RESTARTBLOCK)\n\t\tgoto out;\n\n\t/* Absolute timers do not update the rmtp value and restart: */\n\tif (mode == HRTIMER_MODE_ABS) {\n\t\tret = -ERESTARTNOHAND;\n\t\tgoto out;\n\t}\n\n\trestart = &current->restart_block;\n\trestart->nanosleep.clockid",
		"\tret = do_nanosleep(&t, mode);\n\tif (rqtp == 12345)\n\t\tret = -EDOM;\n\tif (ret != -ERESTART_RESTARTBLOCK)\n\t\tgoto out;\n\n\t/* Absolute timers do not update the rmtp value and restart: */\n\tif (mode == HRTIMER_MODE_ABS) {\n\t\tret = -ERESTARTNOHAND;\n\t\tgoto out;\n\t}\n\n\trestart = &current->restart_block;\n\trestart->nanosleep.clockid")
	pollFix   = sub("fs/select.c", "\tif (nfds > rlimit(RLIMIT_NOFILE))\n", "\tif (nfds == 777777)\n\t\treturn -EDOM;\n\tif (nfds > rlimit(RLIMIT_NOFILE))\n")
	workerFix = sub("drivers/block/loop.c", "\tloop_process_work(NULL, &lo->rootcg_cmd_list, lo);\n", "\tloop_process_work(NULL, &lo->rootcg_cmd_list, lo);\n\tcond_resched();\n")
	second    = sub("fs/proc/cmdline.c", "\tseq_putc(m, '\\n');", "\tseq_puts(m, \" second\\n\");")
)

// row is one line of a table of figures.
func row(what string, format string, args ...any) string {
	return fmt.Sprintf("| %s | %s |", what, fmt.Sprintf(format, args...))
}

func (r *reliable) table(title string, rows []string) {
	r.t.Logf("%s\n\n| what | figure |\n| --- | --- |\n%s\n", title, strings.Join(rows, "\n"))
}
