// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test program a compiler driver when a test starts it as
// one, and keeps what is remembered of compilers out of the user's cache.
func TestMain(m *testing.M) {
	if os.Getenv("KMEND_TEST_DRIVER") != "" {
		res, err := Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
		switch {
		case err != nil:
			fmt.Fprintf(os.Stderr, "kmend cc: %v\n", err)
			os.Exit(3)
		case res.Signal != 0:
			os.Exit(Die(res.Signal))
		}
		os.Exit(res.Exit)
	}
	dir, err := os.MkdirTemp("", "kmend-test-")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CACHE_HOME", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// outcome is what a command left behind.
type outcome struct {
	exit           int
	signal         syscall.Signal
	stdout, stderr string
}

// bench is a directory to compile in.
type bench struct {
	t   *testing.T
	dir string
	cc  string   // KMEND_CC
	env []string // more of the environment
}

func newBench(t *testing.T, files map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), cc: "gcc-12"}
	for name, text := range files {
		path := filepath.Join(b.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, text)
	}
	return b
}

// command is the driver with arguments.
func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	exe, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd.Path = exe
	cmd.Dir = b.dir
	cmd.Env = append(append(os.Environ(), "KMEND_TEST_DRIVER=1", CompilerVar+"="+b.cc, "LC_ALL=C"), b.env...)
	return cmd
}

// do runs a command to its end.
func (b *bench) do(cmd *exec.Cmd) outcome {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	o := outcome{exit: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		o.signal = ws.Signal()
	}
	return o
}

func (b *bench) kmend(line string) outcome {
	b.t.Helper()
	return b.do(b.command(strings.Fields(line)...))
}

// real runs the compiler itself.
func (b *bench) real(line string) outcome {
	b.t.Helper()
	argv := append(strings.Fields(b.cc), strings.Fields(line)...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "LC_ALL=C")
	return b.do(cmd)
}

// ok runs the driver, which must be content, and returns its standard output.
func (b *bench) ok(line string) string {
	b.t.Helper()
	o := b.kmend(line)
	if o.exit != 0 || o.signal != 0 || o.stderr != "" {
		b.t.Fatalf("%s: %+v", line, o)
	}
	return o.stdout
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// clear empties the bench.
func (b *bench) clear() {
	entries, err := os.ReadDir(b.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(b.dir, e.Name())))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// files are all files of the bench, with their contents.
func (b *bench) files() map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(b.dir, path)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// tempName is a name that GCC makes up.
var tempName = regexp.MustCompile(`/tmp/cc\w+`)

const chainSource = `
int g(int); int h;
struct s { int a, b; };
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
int other(int x) { return g(x); }
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1); }
`

// TestSameFiles: whatever is asked for, the files are those that the compiler
// makes by itself, to the last byte.
func TestSameFiles(t *testing.T) {
	mixes := []string{
		"-O2 -c a.c", "-O2 -g -c a.c -o x.o", "-Os -g -grecord-gcc-switches -frecord-gcc-switches -c a.c -o sub/x.o", "-O3 -save-temps -c a.c",
		"-O2 -g -gsplit-dwarf -save-temps=obj -c a.c -o sub/x.o", "-O2 -fstack-usage -fcallgraph-info -c a.c -o sub/x.o", "-O2 -Wp,-MMD,sub/d -MT x -c a.c", "-O2 -MD -c a.c -o sub/x.o",
		"-O2 -pg -mfentry -mrecord-mcount -ffunction-sections -c a.c", "-O2 -pipe -c a.c", "-O2 -c a.c -fdump-tree-optimized",
	}
	b := newBench(t, nil)
	for _, cc := range []string{"gcc-12", "gcc-11"} {
		for i, mix := range mixes {
			if cc == "gcc-11" && i%4 != 2 {
				continue
			}
			b.cc = cc
			if strings.Contains(mix, "-gsplit-dwarf") {
				// GCC makes the id that joins the two files out of addresses.
				b.cc = "setarch -R " + cc
			}
			for _, level := range []string{"", " -flive-patching=inline-clone"} {
				if i%2 == 0 && level != "" {
					continue
				}
				// in one directory, whose name is in the files
				made := func(do func(string) outcome, line string) map[string]string {
					b.clear()
					writeFile(t, filepath.Join(b.dir, "a.c"), chainSource)
					if err := os.Mkdir(filepath.Join(b.dir, "sub"), 0o755); err != nil {
						t.Fatal(err)
					}
					if got := do(line); got.exit != 0 || got.stderr != "" {
						t.Fatalf("%s %s: %+v", cc, line, got)
					}
					files := b.files()
					delete(files, "list")
					return files
				}
				want := made(b.real, mix+level)
				if again := made(b.real, mix+level); !maps.Equal(want, again) {
					t.Fatalf("%s %s: the compiler does not make the same twice", cc, mix)
				}
				lists := []string{"", " -flive-patch-list=all,list"}
				if !strings.Contains(mix, "-fdump") && !strings.Contains(mix, "-gsplit-dwarf") {
					lists = append(lists, " -flive-patch-list=leaf,facts,list")
				}
				for _, list := range lists {
					if got := made(b.kmend, mix+level+list); !maps.Equal(got, want) {
						t.Errorf("%s %s%s%s: files %q, want %q, or their contents", cc, mix, level, list, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
					}
				}
			}
		}
	}
}

// TestSameAnswers: exit code, output and diagnostics.
func TestSameAnswers(t *testing.T) {
	b := newBench(t, map[string]string{"bad.c": "int f(void) { return x; }\n", "warn.c": "int f(int *p) { int unused; return p; }\n", "a.c": chainSource})
	for _, line := range []string{
		"-O2 -c bad.c", "-O2 -Wall -c warn.c", "-Werror -Wall -c warn.c", "-c missing.c", "--no-such-option -c a.c", "--version", "-E a.c",
		"-S a.c -o -", "-dumpmachine", "-print-file-name=libgcc.a", "-v -c a.c -o /dev/null -Wa,-Z", "", "a.c -o prog", "-Q --help=optimizers", "--help=warnings",
	} {
		for _, ours := range []string{"", " -flive-patch-list=all,list", " -flive-patch-list=f,facts,list"} {
			if strings.HasPrefix(line, "a.c") && ours != "" {
				continue // links: an error of its own
			}
			want, got := b.real(line), b.kmend(line+ours)
			clean := func(s string) string { return tempName.ReplaceAllString(s, "/tmp/X") }
			want.stderr, got.stderr = clean(want.stderr), clean(got.stderr)
			if got != want {
				t.Errorf("%s%s: %+v, want %+v", line, ours, got, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "list")); err != nil {
		t.Errorf("warnings are no failure: %v", err)
	}
}

// TestExitAndSignals: however the compiler ends, kmend cc ends the same way.
func TestExitAndSignals(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	b.cc = filepath.Join(b.dir, "cc")
	for end, want := range map[string]outcome{
		"exit 77": {exit: 77}, "kill -SEGV $$": {exit: -1, signal: syscall.SIGSEGV}, "kill -TERM $$": {exit: -1, signal: syscall.SIGTERM},
		"kill -KILL $$": {exit: -1, signal: syscall.SIGKILL}, "kill -ABRT $$": {exit: -1, signal: syscall.SIGABRT}, "kill -INT $$": {exit: -1, signal: syscall.SIGINT},
	} {
		if err := os.WriteFile(b.cc, []byte("#!/bin/bash\ncase \"$*\" in *-E*|--version) exec gcc-12 \"$@\";; esac\necho said >&2; "+end+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		want.stderr = "said\n"
		for _, ours := range []string{"", " -flive-patch-list=all,list"} {
			if got := b.kmend("-c a.c" + ours); got != want {
				t.Errorf("%s%s: %+v, want %+v", end, ours, got, want)
			}
		}
	}
}

// TestSignalsAreForwarded: what is sent to kmend cc reaches the compiler, and
// without a list kmend cc is the compiler.
func TestSignalsAreForwarded(t *testing.T) {
	for _, ours := range []string{"", "-flive-patch-list=all,list"} {
		b := newBench(t, map[string]string{"a.c": chainSource})
		b.cc = filepath.Join(b.dir, "cc")
		script := "#!/bin/bash\ncase \"$*\" in *-E*|--version) exec gcc-12 \"$@\";; esac\n" +
			"trap 'echo term >got; exit 9' TERM\necho $$ >pid.new; mv pid.new pid\nwhile :; do sleep 0.02; done\n"
		if err := os.WriteFile(b.cc, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := b.command(strings.Fields("-c a.c " + ours)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := ""
		for deadline := time.Now().Add(20 * time.Second); pid == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			data, _ := os.ReadFile(filepath.Join(b.dir, "pid"))
			pid = strings.TrimSpace(string(data))
		}
		if isExec := pid == fmt.Sprint(cmd.Process.Pid); isExec != (ours == "") {
			t.Errorf("%q: the compiler is process %s, kmend cc %d", ours, pid, cmd.Process.Pid)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 9 || b.read("got") != "term\n" {
			t.Errorf("%q: exit code %d, got %q", ours, code, b.read("got"))
		}
	}
}
