// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testBanner = "Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)"

// tools makes a PATH of scripts.
func tools(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestBannerParts(t *testing.T) {
	release, cc, err := bannerParts(testBanner)
	if err != nil || release != "6.1.0-50-amd64" || cc != "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0" {
		t.Errorf("%q %q %v", release, cc, err)
	}
	for _, bad := range []string{"", "Linux version 6.1", "Linux version 6.1 (me@here) (gcc 12) #1"} {
		if _, _, err := bannerParts(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestFitCompiler(t *testing.T) {
	const built = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
	tools(t, map[string]string{"gcc-12": "echo '" + built + "'"})
	if cc, err := fitCompiler(t.Context(), built, testBanner); err != nil || cc != "gcc-12" {
		t.Errorf("%q %v", cc, err)
	}
	if _, err := fitCompiler(t.Context(), "gcc-12 (Debian 12.2.0-14) 12.2.0", testBanner); err == nil || !strings.Contains(err.Error(), "do not belong together") {
		t.Errorf("another configuration: %v", err)
	}
	tools(t, map[string]string{"gcc-12": "echo 'gcc-12 (Debian 12.2.0-14) 12.2.0'"})
	if _, err := fitCompiler(t.Context(), built, testBanner); err == nil ||
		!strings.Contains(err.Error(), "apt-get install gcc-12=12.2.0-14+deb12u1") || !strings.Contains(err.Error(), `"gcc-12 (Debian 12.2.0-14) 12.2.0"`) {
		t.Errorf("another compiler: %v", err)
	}
	tools(t, nil)
	var missing *MissingToolsError
	if _, err := fitCompiler(t.Context(), built, testBanner); !errors.As(err, &missing) || !slices.Equal(missing.Packages, []string{"gcc-12"}) {
		t.Errorf("no compiler: %v", err)
	}
	clang := strings.Replace(testBanner, built, "Debian clang version 16.0.6 (15)", 1)
	if _, err := fitCompiler(t.Context(), "Debian clang version 16.0.6 (15)", clang); err == nil || !strings.Contains(err.Error(), "only GCC") {
		t.Errorf("clang: %v", err)
	}
}

func TestMissingTools(t *testing.T) {
	tools(t, map[string]string{"make": "", "gcc": "exit 1", "ld": "", "as": "", "objcopy": "", "bc": "", "perl": ""})
	err := checkTools(t.Context(), buildTools, buildHeaders)
	var missing *MissingToolsError
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	if !slices.Equal(missing.Packages, []string{"flex", "bison", "dwarves", "libelf-dev", "libssl-dev", "zlib1g-dev", "libc6-dev"}) {
		t.Errorf("%v", missing)
	}
	if !strings.HasSuffix(err.Error(), "run: apt-get install flex bison dwarves libelf-dev libssl-dev zlib1g-dev libc6-dev") {
		t.Error(err)
	}
	emptyStore(t)
	if _, err := Add(t.Context(), "debian:6.1.0-50-amd64", AddOptions{}); !errors.As(err, &missing) || !slices.Contains(missing.Packages, "dpkg") {
		t.Errorf("%v", err)
	}
	noKernels(t)
}

const testStanzas = `Package: linux-image-6.1.0-50-amd64
Version: 6.1.176-1
Architecture: amd64
Depends: kmod, linux-base
Size: 100
SHA256: aa
Description: text
 Version: folded line

Package: linux-image-6.1.0-51-amd64
Version: 6.1.180-1
Architecture: amd64
Size: 100
SHA256: bb

Package: linux-image-6.1.0-50-cloud-amd64
Version: 6.1.176-1
Architecture: amd64
`

// aptTools answers apt-cache as the package lists of an archive would.
func aptTools(t *testing.T, show map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range show {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := `case $1 in
search) echo "linux-image-6.1.0-50-amd64 - Linux"; echo "linux-image-6.1.0-51-amd64 - Linux"; echo "linux-image-6.1.0-50-cloud-amd64 - x" ;;
show) shift 2; if [ $# -gt 1 ]; then set -- images; fi; [ -e ` + dir + `/$1 ] || exit 100; while IFS= read -r l; do echo "$l"; done < ` + dir + `/$1 ;;
esac`
	tools(t, map[string]string{"apt-cache": script, "apt-get": "exit 1", "dpkg-deb": "exit 1", "tar": "", "xz": ""})
}

func TestFindPackages(t *testing.T) {
	headers := "Package: linux-headers-6.1.0-50-amd64\nVersion: 6.1.176-1\nArchitecture: amd64\nDepends: linux-headers-6.1.0-50-common (= 6.1.176-1), linux-kbuild-6.1 (>= 6.1.176-1), linux-compiler-gcc-12-x86\n\n"
	pkg := func(name, version string) string {
		return "Package: " + name + "\nVersion: " + version + "\nArchitecture: all\n\n"
	}
	lists := map[string]string{
		"images":                        testStanzas,
		"linux-headers-6.1.0-50-amd64":  headers,
		"linux-headers-6.1.0-50-common": pkg("linux-headers-6.1.0-50-common", "6.1.176-1"),
		"linux-kbuild-6.1":              pkg("linux-kbuild-6.1", "6.1.180-1") + pkg("linux-kbuild-6.1", "6.1.176-1"),
		"linux-source-6.1":              pkg("linux-source-6.1", "6.1.180-1") + pkg("linux-source-6.1", "6.1.176-1"),
	}
	aptTools(t, lists)
	emptyStore(t)
	for _, want := range []string{"6.1.0-50-amd64", "6.1.176-1"} {
		d := &debian{want: want}
		name, err := d.entryName(t.Context())
		if err != nil || name != "6.1.0-50-amd64" {
			t.Errorf("%s: %q %v", want, name, err)
		}
		if err := d.findPackages(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range []deb{d.image, d.headers, d.common, d.kbuild, d.source} {
			if p.Version != "6.1.176-1" {
				t.Errorf("%s: %+v", want, p)
			}
		}
		if f := d.source.file(); f != "linux-source-6.1_6.1.176-1_all.deb" {
			t.Error(f)
		}
	}
	d := &debian{want: "6.1.0-52-amd64"}
	if err := d.findPackages(t.Context()); err == nil || !strings.Contains(err.Error(), "there is 6.1.0-5") {
		t.Errorf("no such kernel: %v", err)
	}
	lists["linux-source-6.1"] = pkg("linux-source-6.1", "6.1.180-1")
	aptTools(t, lists)
	d = &debian{want: "6.1.0-50-amd64"}
	if err := d.findPackages(t.Context()); err == nil || !strings.Contains(err.Error(), "linux-source-6.1 6.1.176-1 is needed") || !strings.Contains(err.Error(), "6.1.180-1") {
		t.Errorf("no source of the version: %v", err)
	}
	delete(lists, "linux-source-6.1")
	aptTools(t, lists)
	if err := (&debian{want: "6.1.0-50-amd64"}).findPackages(t.Context()); err == nil || !strings.Contains(err.Error(), "have none") {
		t.Errorf("no source at all: %v", err)
	}
}

// TestFetchVerifies: a package that is not what the lists say is not kept.
func TestFetchVerifies(t *testing.T) {
	tools := t.TempDir()
	script := "#!/bin/sh\necho content > x_1_all.deb\n"
	if err := os.WriteFile(filepath.Join(tools, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools)
	emptyStore(t)
	// SHA-256 of "content\n"
	good := deb{Name: "x", Version: "1", Arch: "all", Size: 8, SHA256: "434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53"}
	fetch := func(d deb) ([]string, error) {
		var paths []string
		f := &fake{}
		_, err := add(t.Context(), providerFunc{f, func(a *adder) (err error) {
			paths, err = a.fetch(t.Context(), []deb{d})
			return err
		}}, "debian", "debian:x", AddOptions{Force: true})
		return paths, err
	}
	bad := good
	bad.SHA256 = strings.Repeat("0", 64)
	if _, err := fetch(bad); err == nil || !strings.Contains(err.Error(), "the package lists say") {
		t.Errorf("a wrong hash: %v", err)
	}
	dir, err := downloadDir()
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("kept: %v", list)
	}
	paths, err := fetch(good)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(paths[0]); err != nil || string(b) != "content\n" {
		t.Errorf("%q %v", b, err)
	}
	// Now it is there, and apt-get is not asked again.
	t.Setenv("PATH", "")
	if _, err := fetch(good); err != nil {
		t.Error(err)
	}
	// A damaged one is asked for again.
	if err := os.WriteFile(paths[0], []byte("contend\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(good); err == nil || !strings.Contains(err.Error(), "apt-get") {
		t.Errorf("a damaged download was taken: %v", err)
	}
}

// providerFunc is a fake with another fill.
type providerFunc struct {
	*fake
	f func(a *adder) error
}

func TestSourceVersion(t *testing.T) {
	text := []byte("# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 176\nEXTRAVERSION =\n")
	if v := sourceVersion(text); v != "6.1.176" {
		t.Error(v)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	k := &Kernel{SourceDir: dir, Version: "6.1.176-1"}
	if err := k.checkSource(); err != nil {
		t.Error(err)
	}
	k.Version = "6.1.180-1"
	if err := k.checkSource(); err == nil || !strings.Contains(err.Error(), "the source is 6.1.176, but the image is 6.1.180") {
		t.Errorf("%v", err)
	}
}

func TestKernelVariables(t *testing.T) {
	dir := t.TempDir()
	gen := filepath.Join(dir, "include/generated")
	if err := os.MkdirAll(gen, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"compile.h": "#define UTS_MACHINE\t\t\"x86_64\"\n#define LINUX_COMPILE_BY\t\"debian-kernel\"\n#define LINUX_COMPILE_HOST\t\"lists.debian.org\"\n",
		"package.h": "#define LINUX_PACKAGE_ID \" Debian 6.1.176-1\"\n",
	} {
		if err := os.WriteFile(filepath.Join(gen, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := (&debian{}).kernelVariables(&Kernel{Release: "6.1.0-50-amd64", Compiler: "gcc-12", HeadersDir: dir, Banner: testBanner})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"override KERNELRELEASE = 6.1.0-50-amd64\n", "override CC = gcc-12\n", "export KBUILD_BUILD_USER = debian-kernel\n",
		"export DISTRIBUTOR = Debian\n", "export DISTRIBUTION_VERSION = 6.1.176-1\n",
		"export KBUILD_BUILD_VERSION_TIMESTAMP = Debian 6.1.176-1 (2026-07-02)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestCompareTrees(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "linux/x.h", "one\ntwo\n")
	write(b, "linux/x.h", "one\ntwo\n")
	write(a, "linux/Kbuild", "other")
	if n, err := compareTrees(t.Context(), a, b, true); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	write(b, "linux/x.h", "one\n2\n")
	if _, err := compareTrees(t.Context(), a, b, true); err == nil || !strings.Contains(err.Error(), `linux/x.h: line 2 of x.h is "2", not "two"`) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(b, "linux/x.h")); err != nil {
		t.Fatal(err)
	}
	if _, err := compareTrees(t.Context(), a, b, true); err == nil {
		t.Error("a missing header: no error")
	}
	if n, err := compareTrees(t.Context(), a, b, false); err != nil || n != 0 {
		t.Errorf("%d %v", n, err)
	}
}

func TestStanzas(t *testing.T) {
	got := parseStanzas([]byte(testStanzas))
	if len(got) != 3 || got[0].SHA256 != "aa" || got[0].Size != 100 || got[0].Version != "6.1.176-1" || got[1].Name != "linux-image-6.1.0-51-amd64" {
		t.Errorf("%+v", got)
	}
	if bytes.Contains([]byte(got[0].Depends), []byte("\n")) {
		t.Error(got[0].Depends)
	}
}

func (p providerFunc) fill(ctx context.Context, a *adder) (*Kernel, error) {
	if err := p.f(a); err != nil {
		return nil, err
	}
	return p.fake.fill(ctx, a)
}
