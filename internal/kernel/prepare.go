// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// readImage unpacks vmlinuz, decodes it, and checks that release, compiler and
// configuration fit it. It fills BuildID, Banner, Compiler, Magic, Symbols.
func (k *Kernel) readImage(ctx context.Context, config map[string]string) error {
	b, err := os.ReadFile(k.Bzimage)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	elf, err := UnpackBzImage(b)
	if err != nil {
		return fmt.Errorf("read image %s: %w", k.Bzimage, err)
	}
	im, err := ReadImage(elf)
	if err != nil {
		return fmt.Errorf("read image %s: %w", k.Bzimage, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := writeFile(k.Vmlinux, elf); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return k.judgeImage(ctx, im, config)
}

// judgeImage is the part of readImage that all providers share.
func (k *Kernel) judgeImage(ctx context.Context, im *Image, config map[string]string) error {
	release, _, err := bannerParts(im.Banner)
	if err != nil {
		return err
	}
	if release != k.Release {
		return fmt.Errorf("the image is release %s, not %s", release, k.Release)
	}
	if k.Version != "" && !strings.Contains(im.Banner, " Debian "+k.Version+" ") {
		return fmt.Errorf("the image is not of package version %s: its banner is %q", k.Version, im.Banner)
	}
	for _, o := range []string{"CONFIG_LIVEPATCH", "CONFIG_X86_64", "CONFIG_MODULES"} {
		if config[o] != "y" {
			return fmt.Errorf("kernel %s is built without %s: it cannot be patched", release, o)
		}
	}
	if k.Compiler, err = fitCompiler(ctx, config["CONFIG_CC_VERSION_TEXT"], im.Banner); err != nil {
		return err
	}
	k.CompilerID = config["CONFIG_CC_VERSION_TEXT"]
	k.BuildID, k.Banner, k.Symbols = im.BuildID, im.Banner, im.Symbols().Len()
	if k.Magic, err = im.stringAt("vermagic"); err != nil {
		return fmt.Errorf("vermagic of the image: %w", err)
	}
	return nil
}

// prepareLines is about what "make modules_prepare" prints for Debian's 6.1;
// it only feeds the progress display.
const prepareLines = 215

// prepare makes the O= directory from the headers' configuration. Debian's
// Makefile reads O/.kernelvariables, which makes every later make in it agree
// on release, compiler and the strings that Debian's build puts in.
func (d *debian) prepare(ctx context.Context, a *adder, k *Kernel) error {
	if err := k.checkSource(); err != nil {
		return err
	}
	if err := os.Mkdir(k.ObjDir, 0o755); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(k.HeadersDir, ".config"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.ConfigFile(), config, 0o644); err != nil {
		return err
	}
	vars, err := d.kernelVariables(k)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(k.ObjDir, ".kernelvariables"), []byte(vars), 0o644); err != nil {
		return err
	}
	k.MakeVars = []string{"ARCH=x86", "CC=" + k.Compiler, "KERNELRELEASE=" + k.Release}
	if parseConfig(config)["CONFIG_RUSTC_VERSION"] == "0" {
		// Built where there was no rustc: one that is here must not be seen.
		k.MakeVars = append(k.MakeVars, "RUSTC=false")
	}
	if err := a.make(ctx, k, "olddefconfig"); err != nil {
		return err
	}
	now, err := os.ReadFile(k.ConfigFile())
	if err != nil {
		return err
	}
	if err := checkDrift(parseConfig(config), parseConfig(now)); err != nil {
		return err
	}
	if err := a.make(ctx, k, "modules_prepare"); err != nil {
		return err
	}
	// The first object of all makes a few things more; pay for that here.
	return a.make(ctx, k, "lib/ctype.o")
}

// make runs make with the kernel's own arguments in its O= directory.
func (a *adder) make(ctx context.Context, k *Kernel, target string) error {
	s := a.step()
	if target == "modules_prepare" {
		s.log = &lineCounter{w: a.log, lines: func(n int64) {
			a.progress(PhasePrepare, min(n, prepareLines-1), prepareLines)
		}}
	}
	argv := append([]string{"make", fmt.Sprintf("-j%d", runtime.NumCPU())}, k.MakeArgs()...)
	if err := s.run(ctx, command{argv: append(argv, target)}); err != nil {
		return fmt.Errorf("prepare the build directory: %w", err)
	}
	return nil
}

var defineRE = regexp.MustCompile(`(?m)^#define (LINUX_COMPILE_BY|LINUX_COMPILE_HOST|LINUX_PACKAGE_ID)\s+"([^"\n]*)"`)

// kernelVariables writes O/.kernelvariables out of what Debian's generated
// headers say of its build.
func (d *debian) kernelVariables(k *Kernel) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "override ARCH = x86\noverride KERNELRELEASE = %s\noverride CC = %s\n", k.Release, k.Compiler)
	vals := map[string]string{}
	for _, f := range []string{"compile.h", "package.h"} {
		text, err := os.ReadFile(filepath.Join(k.HeadersDir, "include/generated", f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		for _, m := range defineRE.FindAllStringSubmatch(string(text), -1) {
			vals[m[1]] = m[2]
		}
	}
	if by, host := vals["LINUX_COMPILE_BY"], vals["LINUX_COMPILE_HOST"]; by != "" && host != "" {
		fmt.Fprintf(&b, "export KBUILD_BUILD_USER = %s\nexport KBUILD_BUILD_HOST = %s\n", by, host)
	}
	if f := strings.Fields(vals["LINUX_PACKAGE_ID"]); len(f) == 2 {
		fmt.Fprintf(&b, "export DISTRIBUTION_OFFICIAL_BUILD = 1\nexport DISTRIBUTOR = %s\nexport DISTRIBUTION_VERSION = %s\n", f[0], f[1])
	}
	// UTS_VERSION is "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)".
	if m := regexp.MustCompile(`#(\d+) .*(Debian \S+ \([^)]*\))$`).FindStringSubmatch(k.Banner); m != nil {
		fmt.Fprintf(&b, "export KBUILD_BUILD_VERSION = %s\nexport KBUILD_BUILD_TIMESTAMP = %s\nexport KBUILD_BUILD_VERSION_TIMESTAMP = %s\n", m[1], m[2], m[2])
	}
	return b.String(), nil
}

// checkDrift compares the configuration before and after olddefconfig. The
// options that are allowed to differ name what the host offers to a kernel
// build and change no code by themselves.
func checkDrift(was, is map[string]string) error {
	allowed := []string{"CONFIG_GCC_PLUGINS", "CONFIG_HAVE_GCC_PLUGINS", "CONFIG_RUSTC_VERSION_TEXT", "CONFIG_BINDGEN_VERSION_TEXT", "CONFIG_RUST_IS_AVAILABLE"}
	var drift []string
	for _, line := range configDrift(was, is) {
		name, _, _ := strings.Cut(line, ":")
		if !slices.Contains(allowed, name) {
			drift = append(drift, line)
		}
	}
	if len(drift) == 0 {
		return nil
	}
	slices.Sort(drift)
	hint := "the tools here differ from those that built the kernel (compiler, binutils, pahole)"
	more := ""
	if len(drift) > 8 {
		drift, more = drift[:8], " and more"
	}
	return fmt.Errorf("the kernel's configuration does not hold on this machine: %s%s; %s", strings.Join(drift, "; "), more, hint)
}

// checkSource compares the source's version with the image's.
func (k *Kernel) checkSource() error {
	text, err := os.ReadFile(filepath.Join(k.SourceDir, "Makefile"))
	if err != nil {
		return fmt.Errorf("version of the source: %w", err)
	}
	version := sourceVersion(text)
	want, _, _ := strings.Cut(k.Version, "-")
	if version != want {
		return fmt.Errorf("the source is %s, but the image is %s (package version %s): the source of the same version is needed", version, want, k.Version)
	}
	return nil
}

// sourceVersion is VERSION.PATCHLEVEL.SUBLEVEL of a kernel's Makefile.
func sourceVersion(makefile []byte) string {
	var parts []string
	for _, name := range []string{"VERSION", "PATCHLEVEL", "SUBLEVEL"} {
		m := regexp.MustCompile(`(?m)^` + name + ` = (\d+)$`).FindSubmatch(makefile)
		if m == nil {
			return "unknown"
		}
		parts = append(parts, string(m[1]))
	}
	return strings.Join(parts, ".")
}

// check proves that the parts belong together: exports and their CRCs in the
// image and in Module.symvers; the source's headers and Debian's; our
// generated headers and Debian's (asm-offsets.h and bounds.h hold the layout
// of the kernel's main structures); the modules and the image.
func (d *debian) check(ctx context.Context, a *adder, k *Kernel) error {
	im, err := k.Image()
	if err != nil {
		return err
	}
	symvers, err := k.Exports()
	if err != nil {
		return err
	}
	if err := checkExports(im, symvers); err != nil {
		return err
	}
	common := filepath.Join(filepath.Dir(k.HeadersDir), d.common.Name)
	n, err := compareTrees(ctx, filepath.Join(common, "include"), filepath.Join(k.SourceDir, "include"), true)
	if err != nil {
		return fmt.Errorf("the source does not fit the headers of %s: %w", k.Release, err)
	}
	if n < 1000 {
		return fmt.Errorf("the common headers of %s hold %d files: more were expected", k.Release, n)
	}
	for _, dir := range []string{"include/generated", "arch/x86/include/generated"} {
		if _, err := compareTrees(ctx, filepath.Join(k.HeadersDir, dir), filepath.Join(k.ObjDir, dir), false); err != nil {
			return fmt.Errorf("what was prepared differs from Debian's build of %s: %w", k.Release, err)
		}
	}
	return a.indexModules(ctx, k, "kernel", nil)
}

// compareTrees compares every header below want with the one in have; all says
// that none may be missing there. It returns how many were compared.
func compareTrees(ctx context.Context, want, have string, all bool) (n int, err error) {
	err = filepath.WalkDir(want, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.Type().IsRegular() || !strings.HasSuffix(path, ".h") {
			return nil
		}
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		same, diff, err := sameFile(path, filepath.Join(have, rel))
		if errors.Is(err, fs.ErrNotExist) && !all {
			return nil
		}
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("%s: %s", rel, diff)
		}
		n++
		return nil
	})
	return n, err
}
