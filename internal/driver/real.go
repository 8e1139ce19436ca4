// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The environment variables of kmend cc.
const (
	CompilerVar = "KMEND_CC"            // the real compiler, as a command
	NearestVar  = "KMEND_CLANG_NEAREST" // 1: levels with Clang, as near as it gets
	runningVar  = "KMEND_CC_RUNNING"    // set for the real compiler: it is not to start kmend cc
)

// autoConf is where kbuild keeps the configuration of the tree that it builds;
// it runs compilers in the directory that this is relative to.
const autoConf = "include/config/auto.conf"

// realCompiler is the command of the compiler to run, and its file. It is what
// KMEND_CC says, else what the kernel in the working directory was configured
// with, else gcc.
func realCompiler() (argv []string, file string, err error) {
	argv, why := strings.Fields(os.Getenv(CompilerVar)), CompilerVar
	if len(argv) == 0 {
		name, err := configured()
		if err != nil {
			return nil, "", err
		}
		argv, why = []string{name}, "CONFIG_CC_VERSION_TEXT in "+autoConf
		if name == "" {
			argv, why = []string{"gcc"}, "the default"
		}
	}
	file, err = exec.LookPath(argv[0])
	if err != nil {
		return nil, "", fmt.Errorf("find the compiler %s (%s): %w; install it, or name another one in %s", argv[0], why, err, CompilerVar)
	}
	if os.Getenv(runningVar) != "" || isSelf(argv) {
		return nil, "", fmt.Errorf("run the compiler %s (%s): that is kmend cc itself; name the real compiler in %s", strings.Join(argv, " "), why, CompilerVar)
	}
	return argv, file, nil
}

// configured is the compiler that the kernel in the working directory was
// configured with: the first word of what it printed for --version, as in
// "gcc-12 (Debian 12.2.0-14) 12.2.0". "" if no kernel is there.
func configured() (string, error) {
	data, err := os.ReadFile(autoConf)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the compiler of the kernel in this directory: %w; name the compiler in %s", err, CompilerVar)
	}
	_, text, found := strings.Cut("\n"+string(data), "\nCONFIG_CC_VERSION_TEXT=")
	if !found {
		return "", nil // a kernel before 4.18, which did not record it
	}
	text, _, _ = strings.Cut(text, "\n")
	text = strings.Trim(text, `"`) // there until 5.17
	// Clang begins with the name of who built it, if with anything.
	if before, after, found := strings.Cut(text, "clang version "); found && !strings.Contains(before, "(") {
		major, _, _ := strings.Cut(after, ".")
		if _, err := exec.LookPath("clang-" + major); err == nil {
			return "clang-" + major, nil
		}
		return "clang", nil
	}
	word, _, _ := strings.Cut(text, " ")
	return word, nil
}

// isSelf reports whether a word of a command stands for this program.
func isSelf(argv []string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	for _, word := range argv {
		if strings.HasPrefix(word, "-") {
			continue
		}
		file, err := exec.LookPath(word)
		if err != nil {
			continue
		}
		if st, err := os.Stat(file); err == nil && os.SameFile(st, self) {
			return true
		}
	}
	return false
}

// isCcache reports whether a command begins with ccache.
func isCcache(argv []string) bool {
	file, err := exec.LookPath(argv[0])
	if err != nil {
		return false
	}
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target // /usr/lib/ccache/gcc
	}
	return strings.HasPrefix(filepath.Base(file), "ccache")
}

// behindCcache reports whether ccache started this process to fill its cache.
// It sets CCACHE_DISABLE for what it starts then; a command that it does not
// cache it becomes itself (exec), so that the parent is another.
func behindCcache() bool {
	if os.Getenv("CCACHE_DISABLE") == "" {
		return false
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	return err == nil && strings.HasPrefix(string(name), "ccache")
}
