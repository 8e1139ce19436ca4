// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"bytes"
	"context"
	"debug/elf"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/compiler"
	"kmend/internal/kernel"
	"kmend/internal/run"
)

// kernelConfig is what the small kernel has beside allnoconfig: enough to boot
// in a guest, to be patched and to run kmend's agent (Go needs EVENTFD, EPOLL
// and FUTEX).
//
//go:embed kernel.config
var kernelConfig []byte

// build is one kernel at one level. All lies in dir: the O= directory ("build"),
// the compiler that make is given ("cc"), what is known of the build
// ("state.json"), and make's output. The source is not written to.
type build struct {
	kernel   *kernel.Kernel
	compiler *compiler.Compiler
	level    compiler.Level
	flags    []string
	dir      string
	jobs     int
	progress func(phase string, done, total int64)

	source string // the source root, links resolved, as make names it
	state  buildState
}

// buildState is the file state.json. It is written when units turn out not to
// compile, and when the kernel is done.
type buildState struct {
	Key     string // of all that decides the kernel
	Done    bool
	BuildID string // of the finished image
	Without []Failure
}

type built struct {
	vmlinux, buildID string
	text             int64 // bytes of executable sections
	without          []Failure
}

// make builds the kernel, or finds it built.
//
// Some units cannot be had at some levels: mm/shmem.c asserts that the compiler
// inlines an external function, arch/x86/kernel/alternative.c names symbols that
// do not exist in a call that the compiler is to find without effect. make is
// told to go on after errors; what failed is compiled without the level's flags
// then. Which units that were, and why, is part of the result.
func (b *build) make(ctx context.Context) (*built, error) {
	if strings.ContainsAny(b.dir, " \t\n'") {
		return nil, fmt.Errorf("build a kernel in %q: make cannot have blanks and quotes in a path; set XDG_CACHE_HOME to another place", b.dir)
	}
	if err := os.MkdirAll(b.objDir(), 0o755); err != nil {
		return nil, fmt.Errorf("build a kernel: %w", err)
	}
	unlock, err := b.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if b.source, err = filepath.EvalSymlinks(b.kernel.SourceDir); err != nil {
		return nil, fmt.Errorf("build a kernel: %w", err)
	}
	if err := b.load(); err != nil {
		return nil, err
	}
	if b.state.Done {
		if r, err := b.result(); err == nil && r.buildID == b.state.BuildID {
			return r, nil
		}
	}
	if err := b.configure(ctx); err != nil {
		return nil, err
	}
	const most = 6 // rounds: what fails can hide other failures behind it
	for range most {
		failed, err := b.round(ctx)
		if err != nil {
			return nil, err
		}
		if len(failed) == 0 {
			return b.finish()
		}
	}
	return nil, fmt.Errorf("build a kernel at level %v: after %d attempts there are still units that cannot be had; see %s", b.level, most, b.logFile())
}

func (b *build) objDir() string  { return filepath.Join(b.dir, "build") }
func (b *build) logFile() string { return filepath.Join(b.dir, "make.log") }
func (b *build) ccFile() string  { return filepath.Join(b.dir, "cc") }

func (b *build) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(b.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("build a kernel: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("build a kernel in %s: another kmend does so just now (%w); wait for it", b.dir, err)
	}
	return func() { f.Close() }, nil
}

// load reads what is known of the build. Of a build of something else only the
// objects stay: make knows which of them to keep, but not that units which were
// left out may compile now.
func (b *build) load() error {
	h := run.NewHasher("levels kernel 2")
	h.AddString(b.source, b.kernel.BuildID, b.compiler.Text)
	h.AddString(b.compiler.Argv...)
	h.AddString(b.flags...)
	h.Add(kernelConfig)
	key := string(h.Key())
	data, err := os.ReadFile(b.stateFile())
	if err == nil && json.Unmarshal(data, &b.state) == nil && b.state.Key == key {
		return nil
	}
	for _, f := range b.state.Without {
		if filepath.IsLocal(f.Unit) {
			if err := b.removeObject(f.Unit); err != nil {
				return err
			}
		}
	}
	b.state = buildState{Key: key, Without: []Failure{}}
	return nil
}

func (b *build) stateFile() string { return filepath.Join(b.dir, "state.json") }

func (b *build) save() error {
	data, err := json.MarshalIndent(b.state, "", "\t")
	if err != nil {
		return fmt.Errorf("remember the kernel's build: %w", err)
	}
	return writeWhole(b.stateFile(), append(data, '\n'), 0o644)
}

func writeWhole(file string, data []byte, mode os.FileMode) error {
	temp := file + ".tmp"
	err := os.WriteFile(temp, data, mode)
	if err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return fmt.Errorf("build a kernel: %w", err)
	}
	return nil
}

func (b *build) configure(ctx context.Context) error {
	if err := b.writeCompiler(); err != nil {
		return err
	}
	fragment := filepath.Join(b.dir, "fragment.config")
	if err := writeWhole(fragment, kernelConfig, 0o644); err != nil {
		return err
	}
	if _, err := run.Run(ctx, run.Cmd{Argv: b.argv("KCONFIG_ALLCONFIG="+fragment, "allnoconfig")}); err != nil {
		return fmt.Errorf("configure a kernel: %w", err)
	}
	config, err := os.ReadFile(filepath.Join(b.objDir(), ".config"))
	if err != nil {
		return fmt.Errorf("configure a kernel: %w", err)
	}
	for line := range bytes.Lines(kernelConfig) {
		if !bytes.Contains(config, append([]byte("\n"), line...)) {
			return fmt.Errorf("configure a kernel: this source does not take %s: it is too different from Linux 6.1", bytes.TrimSpace(line))
		}
	}
	return nil
}

// dumps makes GCC write beside each object what it copied where, for the index of
// kmend impact. It changes no code.
const dumps = "-fdump-ipa-clones"

// argv is make's command line. What would differ from one build to the next, and
// with it the code that prints it, is fixed.
func (b *build) argv(more ...string) []string {
	return append([]string{"make", "-C", b.source, "O=" + b.objDir(), "ARCH=x86", "CC=" + b.ccFile(),
		"KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_USER=kmend", "KBUILD_BUILD_HOST=kmend", "KBUILD_BUILD_VERSION=1",
		"KCFLAGS=" + strings.Join(append([]string{dumps}, b.flags...), " ")}, more...)
}

// writeCompiler writes the program that make takes for the compiler. It hands
// everything on, without the level's flags for units that do not compile at the
// level: make has no way to say that for one object.
func (b *build) writeCompiler() error {
	var s strings.Builder
	s.WriteString("#!/bin/sh\n")
	if len(b.state.Without) > 0 && len(b.flags) > 0 {
		var sources, flags []string
		for _, f := range b.state.Without {
			sources = append(sources, "'"+filepath.Join(b.source, f.Unit)+"'")
		}
		for _, f := range b.flags {
			flags = append(flags, "'"+f+"'")
		}
		fmt.Fprintf(&s, "for last; do :; done\ncase $last in\n%s)\n\tfor a; do\n\t\tshift\n\t\tcase $a in\n\t\t%s) ;;\n\t\t*) set -- \"$@\" \"$a\" ;;\n\t\tesac\n\tdone ;;\nesac\n",
			strings.Join(sources, " | "), strings.Join(flags, " | "))
	}
	fmt.Fprintf(&s, "exec %s \"$@\"\n", strings.Join(b.compiler.Argv, " "))
	return writeWhole(b.ccFile(), []byte(s.String()), 0o755)
}

// round runs make to its end and notes the units that cannot be had at the
// level; an error is whatever cannot be helped by compiling units without it.
func (b *build) round(ctx context.Context) (failed []Failure, err error) {
	jobs := b.jobs
	if jobs < 1 {
		jobs = runtime.NumCPU()
	}
	count := &compileCounter{tick: func(n int64) {
		if b.progress != nil {
			b.progress(fmt.Sprintf("build at level %v", b.level), n, 0)
		}
	}}
	out, runErr := run.Run(ctx, run.Cmd{Argv: b.argv("-k", fmt.Sprintf("-j%d", jobs), "vmlinux"), Tee: count})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if out == nil {
		return nil, fmt.Errorf("build a kernel: %w", runErr)
	}
	if err := writeWhole(b.logFile(), slices.Concat(out.Stdout, out.Stderr), 0o644); err != nil {
		return nil, err
	}
	if runErr == nil {
		return nil, nil
	}
	if failed, err = b.failures(ctx, out.Stderr); err != nil {
		return nil, err
	}
	if len(failed) == 0 || b.level == compiler.Plain {
		return nil, fmt.Errorf("build a kernel at level %v: %w; all of it: %s", b.level, runErr, b.logFile())
	}
	slices.SortFunc(failed, func(x, y Failure) int { return strings.Compare(x.Unit, y.Unit) })
	b.state.Without = append(b.state.Without, failed...)
	if err := b.writeCompiler(); err != nil {
		return nil, err
	}
	for _, f := range failed {
		if err := b.removeObject(f.Unit); err != nil {
			return nil, err
		}
	}
	return failed, b.save()
}

// removeObject makes make compile a unit again.
func (b *build) removeObject(unit string) error {
	object := filepath.Join(b.objDir(), strings.TrimSuffix(unit, ".c")+".o")
	if err := os.Remove(object); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("build a kernel: %w", err)
	}
	return nil
}

// compileCounter counts the C files in make's output.
type compileCounter struct {
	n    int64
	tick func(n int64)
}

func (c *compileCounter) Write(p []byte) (int, error) {
	if k := bytes.Count(p, []byte("  CC ")); k > 0 {
		c.n += int64(k)
		c.tick(c.n)
	}
	return len(p), nil
}

func (b *build) finish() (*built, error) {
	r, err := b.result()
	if err != nil {
		return nil, err
	}
	b.state.Done, b.state.BuildID = true, r.buildID
	return r, b.save()
}

// result reads the finished image.
func (b *build) result() (*built, error) {
	vmlinux := filepath.Join(b.objDir(), "vmlinux")
	image, err := kernel.OpenImage(vmlinux)
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", vmlinux, err)
	}
	defer f.Close()
	r := &built{vmlinux: vmlinux, buildID: image.BuildID, without: b.state.Without}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_EXECINSTR != 0 {
			r.text += int64(s.Size)
		}
	}
	return r, nil
}
