// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/nearest"
)

// AddOptions are what a caller may choose when a kernel is added.
type AddOptions struct {
	// Name to add it under; "" is the ABI name (debian) or the release (tree).
	Name string
	// Progress is called from several goroutines; the unit of done and total
	// depends on the phase (bytes, files, lines). total 0: not known.
	Progress func(phase string, done, total int64)
	// Log gets what the tools print, besides the entry's add.log.
	Log io.Writer
	// Force replaces a kernel that is there already.
	Force bool
}

// Phases of an add, in order.
const (
	PhaseWait     = "wait for another command that adds or removes it"
	PhaseDownload = "download"
	PhaseUnpack   = "unpack"
	PhasePrepare  = "prepare"
	PhaseCheck    = "check"
)

// provider is one place that kernels come from.
type provider interface {
	// entryName is the default name of the entry; it may ask the network's
	// package lists, but downloads nothing.
	entryName(ctx context.Context) (string, error)
	// fill makes the kernel below a.dir and describes it. The caller has
	// checked nothing; it fills Name, Provider, Spec, Dir, Added and Steps.
	fill(ctx context.Context, a *adder) (*Kernel, error)
}

// adder is the state of one add.
type adder struct {
	dir   string // the entry's directory, exists and is empty at first
	opt   AddOptions
	lock  *entryLock
	log   io.Writer
	steps []Step
}

func (a *adder) progress(phase string, done, total int64) {
	if a.opt.Progress != nil {
		a.opt.Progress(phase, done, total)
	}
}

// timed runs one phase and notes how long it took.
func (a *adder) timed(phase string, f func() error) error {
	start := time.Now()
	fmt.Fprintf(a.log, "== %s\n", phase)
	if err := f(); err != nil {
		return err
	}
	d := time.Since(start)
	a.steps = append(a.steps, Step{phase, d.Seconds()})
	fmt.Fprintf(a.log, "== %s: %.1f s\n", phase, d.Seconds())
	return nil
}

func (a *adder) step() step { return step{log: a.log, lock: a.lock.f} }

// Add adds a kernel to the store and returns it; if it is there already (and
// not opt.Force), that one is returned at once. spec is "debian:RELEASE",
// "debian:PACKAGE-VERSION" or "tree:PATH". The kernel becomes visible when it
// is complete; an add that fails, is cancelled or killed leaves nothing that
// Open or List would see. Two adds of the same kernel: the second waits.
func Add(ctx context.Context, spec string, opt AddOptions) (*Kernel, error) {
	p, kind, err := parseSpec(spec)
	if err != nil {
		return nil, err
	}
	if t, ok := p.(*tree); ok {
		spec = "tree:" + t.obj // absolute: it is kept
	}
	return add(ctx, p, kind, spec, opt)
}

func add(ctx context.Context, p provider, kind, spec string, opt AddOptions) (_ *Kernel, err error) {
	name := opt.Name
	if name == "" {
		if name, err = p.entryName(ctx); err != nil {
			return nil, fmt.Errorf("add kernel %s: %w", spec, err)
		}
	}
	dir, err := entryDir(name)
	if err != nil {
		return nil, fmt.Errorf("add kernel %s: %w", spec, err)
	}
	if k, err := present(dir, kind, spec, opt.Force); k != nil || err != nil {
		return k, err
	}
	waited := false
	lock, err := lockEntry(ctx, dir, func() {
		waited = true
		if opt.Progress != nil {
			opt.Progress(PhaseWait, 0, 0)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("add kernel %s: %w", spec, err)
	}
	defer lock.unlock()
	// Another add may have made it meanwhile; one that this call has waited
	// for is fresh, even for Force.
	if k, err := present(dir, kind, spec, opt.Force && !waited); k != nil || err != nil {
		return k, err
	}
	k, err := addLocked(ctx, p, kind, spec, dir, lock, opt)
	if err != nil {
		return nil, fmt.Errorf("add kernel %s: %w", spec, err)
	}
	return k, nil
}

// present returns the kernel at dir if there is a usable one and it need not
// be made anew.
func present(dir, kind, spec string, force bool) (*Kernel, error) {
	k, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) || force {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if k.Provider != kind || kind == "tree" && k.Spec != spec {
		return nil, fmt.Errorf("add kernel %s: the name %s is taken by %s; choose another with --name, or replace it with --force", spec, k.Name, k.Spec)
	}
	return k, k.checkFiles()
}

func addLocked(ctx context.Context, p provider, kind, spec, dir string, lock *entryLock, opt AddOptions) (k *Kernel, err error) {
	if err := discard(dir); err != nil {
		return nil, fmt.Errorf("clear what is there: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	logPath := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	a := &adder{dir: dir, opt: opt, lock: lock, log: logFile}
	if opt.Log != nil {
		a.log = io.MultiWriter(logFile, opt.Log)
	}
	a.log = &syncWriter{w: a.log}
	defer func() {
		if err == nil {
			return
		}
		if derr := discard(dir); derr != nil {
			err = fmt.Errorf("%w; and clearing up failed: %v", err, derr)
		}
		if ctx.Err() != nil {
			os.Remove(logPath)
			return
		}
		if st, serr := logFile.Stat(); serr != nil || st.Size() == 0 {
			os.Remove(logPath) // no tool has printed anything
			return
		}
		fmt.Fprintf(a.log, "== failed: %v\n", err)
		err = fmt.Errorf("%w (log: %s)", err, logPath)
	}()
	if k, err = p.fill(ctx, a); err != nil {
		return nil, err
	}
	if err = ctx.Err(); err != nil {
		return nil, err
	}
	k.Name, k.Provider, k.Spec, k.Dir = filepath.Base(dir), kind, spec, dir
	k.Added, k.Steps = time.Now().UTC().Truncate(time.Second), a.steps
	if err = os.Rename(logPath, filepath.Join(dir, "add.log")); err != nil {
		return nil, err
	}
	if err = k.save(); err != nil {
		return nil, err
	}
	if k, err = load(dir); err != nil {
		return nil, err
	}
	k.Fresh = true
	return k, nil
}

// SpecError says that a spec does not name a kernel in a form that is known.
type SpecError struct {
	Spec string
	Why  string
}

func (e *SpecError) Error() string { return fmt.Sprintf("kernel %q: %s", e.Spec, e.Why) }

// parseSpec chooses the provider.
func parseSpec(spec string) (p provider, kind string, err error) {
	kind, arg, ok := strings.Cut(spec, ":")
	if !ok || arg == "" {
		return nil, "", &SpecError{spec, "expected debian:RELEASE (as debian:6.1.0-50-amd64), debian:VERSION (as debian:6.1.176-1) or tree:PATH"}
	}
	switch kind {
	case "debian":
		return &debian{want: arg}, kind, nil
	case "tree":
		path, err := filepath.Abs(arg)
		if err != nil {
			return nil, "", fmt.Errorf("kernel %s: %w", spec, err)
		}
		return &tree{obj: path}, kind, nil
	}
	return nil, "", &SpecError{spec, "unknown provider " + kind + nearest.DidYouMean(kind, []string{"debian", "tree"}) + "; there are debian: and tree:"}
}

// checkSpace makes sure that an add does not fill the disk.
func checkSpace(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%s has %d MB free, %d MB are needed: free some space or set XDG_CACHE_HOME to a larger disk", dir, free>>20, need>>20)
	}
	return nil
}
