// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/run"
)

// LevelError says that a compiler has no flags that guarantee a level.
type LevelError struct {
	Compiler string
	Level    Level
	Reason   string   // why not, and what can be done
	Nearest  []string // for Clang: the flags that come nearest
	Differs  []string // what these do not do
}

func (e *LevelError) Error() string {
	return fmt.Sprintf("find the flags of level %v for %s: %s", e.Level, e.Compiler, e.Reason)
}

// LevelFlags returns the flags that make this compiler keep a level, none for
// Plain. They were tried: the compiler accepts them, and its own account
// (-Q --help=optimizers) shows no interprocedural pass on that the level
// forbids. The error is a *LevelError if the compiler has no such flags. The
// result is remembered, as that of Identify.
func (c *Compiler) LevelFlags(ctx context.Context, level Level) ([]string, error) {
	if level == Plain {
		return nil, nil
	}
	var flags []string
	err := c.remember("level "+level.String(), &flags, func() (err error) {
		if c.Family == Clang {
			flags, err = c.nearest(ctx, level)
		} else {
			flags, err = c.probe(ctx, level)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if c.Family == Clang {
		return nil, &LevelError{Compiler: c.String(), Level: level, Nearest: flags, Differs: clangDiffers(level),
			Reason: "Clang cannot keep a level: it has no switch for the passes that use facts about other functions, and changes how static functions are called without renaming them; use GCC"}
	}
	return flags, nil
}

// probe finds the flags of a level for GCC.
func (c *Compiler) probe(ctx context.Context, level Level) ([]string, error) {
	flags, err := c.candidates(ctx, level)
	if err != nil {
		return nil, err
	}
	on, err := c.forbidden(ctx, level, flags)
	if err != nil {
		return nil, err
	}
	// A pass that a newer compiler has, or that this version's own option does
	// not switch off.
	for _, p := range on {
		flags = append(flags, "-fno-"+p)
	}
	if len(on) > 0 {
		if on, err = c.forbidden(ctx, level, flags); err != nil {
			return nil, err
		}
	}
	if len(on) > 0 {
		return nil, c.levelError(level, "-Q shows that "+strings.Join(on, ", ")+" cannot be switched off")
	}
	if ok, err := c.accepts(ctx, flags...); err != nil {
		return nil, err
	} else if !ok {
		return nil, c.levelError(level, "it does not accept "+strings.Join(flags, " "))
	}
	return flags, nil
}

// candidates are the flags that should make a level, from what c accepts.
func (c *Compiler) candidates(ctx context.Context, level Level) ([]string, error) {
	base := "-flive-patching=inline-clone"
	if level >= OnlyInlineStatic {
		base = "-flive-patching=inline-only-static"
	}
	ok, err := c.accepts(ctx, base)
	if err != nil {
		return nil, err
	}
	var flags []string
	switch {
	case ok:
		flags = []string{base}
	case level == OnlyInlineStatic:
		return nil, c.levelError(level, "only -flive-patching of GCC 9 and later keeps the inliner to static functions; use level inline or none")
	}
	for _, p := range passes {
		if p.from > level || ok && (p.from == InlineClone || level >= OnlyInlineStatic) {
			continue // not forbidden, or forbidden by base
		}
		accepted, err := c.accepts(ctx, "-fno-"+p.option)
		if err != nil {
			return nil, err
		}
		if accepted {
			flags = append(flags, "-fno-"+p.option)
		}
	}
	if level == None {
		flags = append(flags, "-fno-inline")
	}
	return flags, nil
}

func (c *Compiler) levelError(level Level, reason string) error {
	return &LevelError{Compiler: c.String(), Level: level, Reason: reason}
}

// accepts reports whether the compiler takes flags without a word.
func (c *Compiler) accepts(ctx context.Context, flags ...string) (bool, error) {
	args := append([]string{"-O2", "-Werror", "-S", "-o", "-", "-x", "c", "-"}, flags...)
	_, err := c.ask(ctx, "int kmend;\n", args...)
	var failed *run.Error
	if errors.As(err, &failed) && failed.Exit > 0 {
		return false, nil
	}
	return err == nil, err
}

// forbidden lists the interprocedural passes that are on and that the level
// does not allow, or that are not known. It asks for -O3, which has most, and
// without -pg, with which -Q prints ipa-ra as on although it is off
// (gcc/toplev.cc switches it off after the options are printed).
func (c *Compiler) forbidden(ctx context.Context, level Level, flags []string) ([]string, error) {
	out, err := c.ask(ctx, "", append([]string{"-O3", "-Q", "--help=optimizers"}, flags...)...)
	var failed *run.Error
	if errors.As(err, &failed) && failed.Exit > 0 {
		return nil, c.levelError(level, "it does not accept "+strings.Join(flags, " "))
	}
	if err != nil {
		return nil, err
	}
	on, seen, err := parseOptimizers(out.Stdout)
	if err != nil {
		return nil, err
	}
	for _, must := range []string{"ipa-cp", "ipa-pure-const", "inline"} {
		if !seen[must] {
			return nil, fmt.Errorf("read -Q --help=optimizers of %s: it does not name %s, so kmend does not understand it", c, must)
		}
	}
	var left []string
	banned := off(level)
	for _, option := range on {
		allowed := !strings.HasPrefix(option, "ipa-") || harmless[option] ||
			slices.ContainsFunc(passes, func(p pass) bool { return p.option == option })
		if slices.Contains(banned, option) || !allowed || level == None && option == "inline" {
			left = append(left, option)
		}
	}
	return left, nil
}

// parseOptimizers reads the output of -Q --help=optimizers: lines of an option
// and its state in brackets, or its value. Options are without -f.
func parseOptimizers(out []byte) (on []string, seen map[string]bool, err error) {
	seen = map[string]bool{}
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) != 2 || !strings.HasPrefix(fields[0], "-f") {
			continue
		}
		name := fields[0][2:]
		seen[name] = true
		if fields[1] == "[enabled]" {
			on = append(on, name)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, nil, fmt.Errorf("read -Q --help=optimizers: %w", err)
	}
	return on, seen, nil
}

// nearest are the flags of Clang that come nearest to a level, from what c
// accepts. Clang has no switch for its interprocedural passes
// (llvm/lib/Passes/PassBuilderPipelines.cpp): only cloning for constant
// arguments, and inlining as a whole, can be switched off.
func (c *Compiler) nearest(ctx context.Context, level Level) ([]string, error) {
	var flags []string
	for _, f := range []struct {
		from  Level
		flags []string
	}{
		{InlineClone, []string{"-mllvm", "-enable-ipra=false"}},              // off on x86 by itself
		{Inline, []string{"-mllvm", "-specialize-functions=false"}},          // LLVM 16: -funcspec
		{Inline, []string{"-mllvm", "-enable-partial-inlining=false"}},       // off by itself
		{OnlyInlineStatic, []string{"-fno-inline", "-fno-inline-functions"}}, // nothing tells static functions apart
	} {
		if f.from > level {
			continue
		}
		ok, err := c.accepts(ctx, f.flags...)
		if err != nil {
			return nil, err
		}
		if ok {
			flags = append(flags, f.flags...)
		}
	}
	return flags, nil
}

// clangDiffers says what Clang still does with its nearest flags.
func clangDiffers(level Level) []string {
	out := []string{
		"facts about bodies are used in callers: attributes found (pure, const, noreturn, …), constant results",
		"unused arguments and results of static functions go, under the same name",
		"static variables that are never written are folded",
	}
	if level == OnlyInlineStatic {
		out = append(out, "no function is inlined, since Clang cannot inline static ones only")
	}
	return out
}
