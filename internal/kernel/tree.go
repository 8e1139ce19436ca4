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
	"slices"
	"strings"
)

// tree adds a kernel that someone built. obj is its O= directory (or the
// source directory of a build in place). Nothing large is copied but the
// image, stripped; neither directory is written to.
type tree struct {
	obj string
}

func (t *tree) entryName(ctx context.Context) (string, error) { return t.release() }

// release reads include/config/kernel.release.
func (t *tree) release() (string, error) {
	b, err := os.ReadFile(filepath.Join(t.obj, "include/config/kernel.release"))
	if err != nil {
		return "", fmt.Errorf("%s is not the O= directory of a built kernel: %w", t.obj, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// source finds the source directory: the link O/source, the include of
// O/Makefile, or the directory itself.
func (t *tree) source() (string, error) {
	if p, err := filepath.EvalSymlinks(filepath.Join(t.obj, "source")); err == nil {
		return p, nil
	}
	b, err := os.ReadFile(filepath.Join(t.obj, "Makefile"))
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w", t.obj, err)
	}
	if m := regexp.MustCompile(`(?m)^include (/\S*)/Makefile$`).FindSubmatch(b); m != nil {
		return string(m[1]), nil
	}
	if _, err := os.Stat(filepath.Join(t.obj, "Kconfig")); err == nil && sourceVersion(b) != "unknown" {
		return t.obj, nil
	}
	return "", fmt.Errorf("find the source of %s: it has no link named source, and its Makefile includes none", t.obj)
}

func (t *tree) fill(ctx context.Context, a *adder) (*Kernel, error) {
	if err := checkTools(ctx, buildTools, buildHeaders); err != nil {
		return nil, err
	}
	k, err := t.describe(a.dir)
	if err != nil {
		return nil, err
	}
	config, err := os.ReadFile(k.ConfigFile())
	if err != nil {
		return nil, fmt.Errorf("%s is not the O= directory of a built kernel: %w", t.obj, err)
	}
	if err := a.timed(PhaseUnpack, func() error { return t.image(ctx, a, k, parseConfig(config)) }); err != nil {
		return nil, err
	}
	k.MakeVars = []string{"ARCH=x86", "CC=" + k.Compiler, "KERNELRELEASE=" + k.Release}
	return k, a.timed(PhaseCheck, func() error { return t.check(ctx, a, k) })
}

func (t *tree) describe(dir string) (*Kernel, error) {
	release, err := t.release()
	if err != nil {
		return nil, err
	}
	src, err := t.source()
	if err != nil {
		return nil, err
	}
	k := &Kernel{
		Release: release, SourceDir: src, ObjDir: t.obj,
		Vmlinux:    filepath.Join(dir, "vmlinux"),
		ModulesDir: filepath.Join(dir, "lib/modules", release),
		Symvers:    filepath.Join(t.obj, "Module.symvers"),
	}
	if p := filepath.Join(t.obj, "arch/x86/boot/bzImage"); fileExists(p) {
		k.Bzimage = p
	}
	for _, p := range []string{k.Symvers, filepath.Join(t.obj, "init/.main.o.cmd")} {
		if _, err := os.Stat(p); err != nil {
			return nil, fmt.Errorf("%s is not the O= directory of a built kernel: %w; build vmlinux and modules first", t.obj, err)
		}
	}
	return k, nil
}

func fileExists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// image takes the image out of bzImage, or strips vmlinux. If both are there
// they must be the same build.
func (t *tree) image(ctx context.Context, a *adder, k *Kernel, config map[string]string) error {
	vmlinux := filepath.Join(t.obj, "vmlinux")
	if !fileExists(vmlinux) && k.Bzimage == "" {
		return fmt.Errorf("%s has neither vmlinux nor arch/x86/boot/bzImage: build one first", t.obj)
	}
	if k.Bzimage == "" {
		if err := a.step().run(ctx, command{argv: []string{"objcopy", "-S", "-R", ".comment", vmlinux, k.Vmlinux}}); err != nil {
			return fmt.Errorf("strip %s: %w", vmlinux, err)
		}
		im, err := OpenImage(k.Vmlinux)
		if err != nil {
			return err
		}
		return k.judgeImage(ctx, im, config)
	}
	if err := k.readImage(ctx, config); err != nil {
		return err
	}
	if !fileExists(vmlinux) {
		return nil
	}
	im, err := OpenImage(vmlinux)
	if err != nil {
		return err
	}
	if im.BuildID != k.BuildID {
		return fmt.Errorf("%s has build id %s, but %s has %s: run make bzImage", k.Bzimage, k.BuildID, vmlinux, im.BuildID)
	}
	return nil
}

// check does for a tree what can be checked without a second witness.
func (t *tree) check(ctx context.Context, a *adder, k *Kernel) error {
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
	if err := os.MkdirAll(k.ModulesDir, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(t.obj, filepath.Join(k.ModulesDir, "kernel")); err != nil {
		return err
	}
	for _, f := range []string{"modules.builtin", "modules.builtin.modinfo"} {
		b, err := os.ReadFile(filepath.Join(t.obj, f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(k.ModulesDir, f), b); err != nil {
			return err
		}
	}
	list, err := t.modules()
	if err != nil {
		return err
	}
	return a.indexModules(ctx, k, "kernel", list)
}

// modules reads modules.order: paths of .ko files (up to 6.2) or of the .o
// they are linked from (later), relative to the O= directory.
func (t *tree) modules() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(t.obj, "modules.order"))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	list := []string{}
	for _, line := range strings.Fields(string(b)) {
		p := strings.TrimPrefix(line, "kernel/")
		if !fileExists(filepath.Join(t.obj, p)) || strings.HasSuffix(p, ".o") {
			p = strings.TrimSuffix(strings.TrimSuffix(line, ".o"), ".ko") + ".ko"
		}
		if !filepath.IsLocal(p) {
			return nil, fmt.Errorf("modules.order: %q is not a path below the tree", line)
		}
		if !fileExists(filepath.Join(t.obj, p)) {
			return nil, fmt.Errorf("modules.order lists %s, but %s is not there: run make modules", line, p)
		}
		list = append(list, p)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
