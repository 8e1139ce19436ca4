// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/run"
)

// tool is something an add needs, and the Debian package that has it.
type tool struct{ name, pkg string }

// downloadTools get and unpack packages.
var downloadTools = []tool{
	{"apt-get", "apt"}, {"apt-cache", "apt"}, {"dpkg-deb", "dpkg"}, {"tar", "tar"}, {"xz", "xz-utils"},
}

// buildTools compile the host programs of a kernel build and one file of it.
var buildTools = []tool{
	{"make", "make"}, {"gcc", "gcc"}, {"ld", "binutils"}, {"as", "binutils"}, {"objcopy", "binutils"},
	{"flex", "flex"}, {"bison", "bison"}, {"bc", "bc"}, {"perl", "perl"}, {"pahole", "dwarves"},
}

// buildHeaders are what the host programs include: objtool and resolve_btfids
// libelf, sign-file OpenSSL.
var buildHeaders = []tool{
	{"gelf.h", "libelf-dev"}, {"openssl/opensslv.h", "libssl-dev"}, {"zlib.h", "zlib1g-dev"}, {"stdio.h", "libc6-dev"},
}

// MissingToolsError lists what is not installed.
type MissingToolsError struct {
	Tools    []string // commands and headers
	Packages []string // Debian packages that have them
}

func (e *MissingToolsError) Error() string {
	return fmt.Sprintf("%s not found; run: apt-get install %s", strings.Join(e.Tools, ", "), strings.Join(e.Packages, " "))
}

// checkTools reports everything that is missing in one error.
func checkTools(ctx context.Context, tools, headers []tool) error {
	e := &MissingToolsError{}
	add := func(t tool) {
		e.Tools = append(e.Tools, t.name)
		if !slices.Contains(e.Packages, t.pkg) {
			e.Packages = append(e.Packages, t.pkg)
		}
	}
	cc := ""
	for _, t := range tools {
		if _, err := exec.LookPath(t.name); err != nil {
			add(t)
		} else if t.name == "gcc" {
			cc = t.name
		}
	}
	if cc != "" {
		for _, h := range headers {
			_, err := run.Run(ctx, run.Cmd{Argv: []string{cc, "-E", "-x", "c", "-o", "/dev/null", "-"},
				Stdin: strings.NewReader("#include <" + h.name + ">\n")})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				add(h)
			}
		}
	}
	if len(e.Tools) > 0 {
		return e
	}
	return nil
}

// bannerRE takes the compiler out of linux_banner: everything up to the comma
// before the linker in the second parenthesis.
var bannerRE = regexp.MustCompile(`^Linux version (\S+) \([^)]*\) \((.*), (GNU ld|LLD|ld\.lld)[^#]*\) #`)

// bannerParts returns release and compiler of a banner.
func bannerParts(banner string) (release, compiler string, err error) {
	m := bannerRE.FindStringSubmatch(banner)
	if m == nil {
		return "", "", fmt.Errorf("no compiler in the image's banner %q", banner)
	}
	return m[1], m[2], nil
}

// compilerID is the first line that "cc --version" prints, which kernels
// record as CONFIG_CC_VERSION_TEXT.
func compilerID(ctx context.Context, cc string) (string, error) {
	out, err := run.Run(ctx, run.Cmd{Argv: []string{cc, "--version"}})
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", cc, err)
	}
	line, _, _ := strings.Cut(string(out.Stdout), "\n")
	return strings.TrimSpace(line), nil
}

// fitCompiler returns the command of the compiler that built an image: text is
// CONFIG_CC_VERSION_TEXT and starts with the command's name, banner is what
// the image itself says. Another version, even a close one, generates other
// code, so it is an error.
func fitCompiler(ctx context.Context, text, banner string) (cc string, err error) {
	release, built, err := bannerParts(banner)
	if err != nil {
		return "", err
	}
	if text != built {
		return "", fmt.Errorf("the configuration was made for %q, but image %s was built with %q: they do not belong together", text, release, built)
	}
	cc, _, _ = strings.Cut(built, " ")
	if !regexp.MustCompile(`^([a-z0-9_]+-)*gcc(-[0-9]+)?$`).MatchString(cc) {
		return "", fmt.Errorf("image %s was built with %q: only GCC is supported", release, built)
	}
	if _, err := exec.LookPath(cc); errors.Is(err, exec.ErrNotFound) {
		return "", &MissingToolsError{Tools: []string{cc + " (the image was built with " + built + ")"}, Packages: []string{cc}}
	}
	id, err := compilerID(ctx, cc)
	if err != nil {
		return "", err
	}
	if id != built {
		return "", fmt.Errorf("image %s was built with %q, but %s here is %q: the same version is needed; run: apt-get install %s%s", release, built, cc, id, cc, packageVersion(built))
	}
	return cc, nil
}

// packageVersion is "=VERSION" if the compiler names its Debian package.
func packageVersion(built string) string {
	m := regexp.MustCompile(`\(Debian ([^)\s]+)\)`).FindStringSubmatch(built)
	if m == nil {
		return ""
	}
	return "=" + m[1]
}

// sameFile compares two files; diff is the first line that differs.
func sameFile(a, b string) (same bool, diff string, err error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, "", err
	}
	y, err := os.ReadFile(b)
	if err != nil {
		return false, "", err
	}
	if string(x) == string(y) {
		return true, "", nil
	}
	xs, ys := strings.Split(string(x), "\n"), strings.Split(string(y), "\n")
	for i := 0; i < len(xs) || i < len(ys); i++ {
		var l, r string
		if i < len(xs) {
			l = xs[i]
		}
		if i < len(ys) {
			r = ys[i]
		}
		if l != r {
			return false, fmt.Sprintf("line %d of %s is %.120q, not %.120q", i+1, filepath.Base(b), r, l), nil
		}
	}
	return false, "", nil
}
