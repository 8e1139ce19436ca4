// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"kmend/internal/run"
)

// The families of compilers that are known.
const (
	GCC   = "gcc"
	Clang = "clang"
)

// Compiler is a compiler that was asked what it is. It is not changed by
// questions and safe for concurrent use.
type Compiler struct {
	Argv    []string // the command: one word, or more, as in ccache gcc-12
	Family  string   // GCC or Clang
	Version [3]int   // major, minor, patch level
	Text    string   // first line of --version

	key   []string   // what the answers depend on: the command and the files behind it
	cache *run.Cache // nil: nothing is remembered
}

// String is the compiler as messages name it, as in GCC 12.2.0.
func (c *Compiler) String() string {
	name := "GCC"
	if c.Family == Clang {
		name = "Clang"
	}
	return fmt.Sprintf("%s %d.%d.%d", name, c.Version[0], c.Version[1], c.Version[2])
}

// Identify asks a compiler what it is. The answer is remembered in the cache
// directory for as long as the files behind the command stay the same, so that
// it costs no process the next time. The error says if the command is not
// there, or is neither GCC nor Clang.
func Identify(ctx context.Context, argv []string) (*Compiler, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("identify the compiler: no command is given")
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("identify the compiler %s: %w; install it, or name another one", argv[0], err)
	}
	c := &Compiler{Argv: argv, key: keyOf(argv)}
	// Without a cache directory (no HOME, as in some builds) every call asks
	// again: slow, but the answers are the same.
	if dir, err := run.CacheDir(); err == nil {
		c.cache = run.CacheAt(filepath.Join(dir, "compilers"))
	}
	err := c.remember("identity", c, func() error { return c.identify(ctx) })
	if err != nil {
		return nil, fmt.Errorf("identify the compiler %s: %w", strings.Join(argv, " "), err)
	}
	c.Argv = argv
	return c, nil
}

// keyOf is what a compiler's answers depend on: its words, the files that they
// may stand for (all of that name in PATH, since a name may be that of ccache,
// which starts the next one), and the variables by which GCC finds its parts.
func keyOf(argv []string) []string {
	key := append([]string{}, argv...)
	for _, name := range []string{"COMPILER_PATH", "GCC_EXEC_PREFIX"} {
		key = append(key, os.Getenv(name))
	}
	for _, word := range argv {
		if strings.HasPrefix(word, "-") {
			continue
		}
		places := []string{word}
		if filepath.Base(word) == word {
			places = nil
		}
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			places = append(places, filepath.Join(dir, filepath.Base(word)))
		}
		for _, place := range places {
			st, err := os.Stat(place)
			if err != nil || st.IsDir() {
				continue
			}
			file, err := filepath.EvalSymlinks(place)
			if err != nil {
				file = place
			}
			key = append(key, file, strconv.FormatInt(st.Size(), 10), strconv.FormatInt(st.ModTime().UnixNano(), 10))
		}
	}
	return key
}

// remember fills answer from the cache, or by ask, and stores it then.
func (c *Compiler) remember(question string, answer any, ask func() error) error {
	if c.cache == nil {
		return ask()
	}
	h := run.NewHasher("compiler 1")
	h.AddString(question)
	h.AddString(c.key...)
	key := h.Key()
	if files, ok, err := c.cache.Get(key); err == nil && ok && json.Unmarshal(files["answer"], answer) == nil {
		return nil
	}
	if err := ask(); err != nil {
		return err
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("remember the answer: %w", err)
	}
	// A cache that cannot be written costs time, not correctness.
	_ = c.cache.Put(key, map[string][]byte{"answer": data})
	return nil
}

// identityMacros are what GCC and Clang define in every translation unit.
const identityMacros = "kmend __clang_major__ __clang_minor__ __clang_patchlevel__ __GNUC__ __GNUC_MINOR__ __GNUC_PATCHLEVEL__\n"

func (c *Compiler) identify(ctx context.Context) error {
	out, err := c.ask(ctx, identityMacros, "-E", "-P", "-x", "c", "-")
	if err != nil {
		return err
	}
	_, after, found := strings.Cut(string(out.Stdout), "kmend ")
	fields := strings.Fields(after)
	if !found || len(fields) < 6 {
		return fmt.Errorf("it does not preprocess C: it printed %.100q", out.Stdout)
	}
	c.Family = Clang
	if fields[0] == "__clang_major__" {
		c.Family, fields = GCC, fields[3:]
	}
	for i := range c.Version {
		if c.Version[i], err = strconv.Atoi(fields[i]); err != nil {
			return errors.New("it is neither GCC nor Clang: it does not say its version in __GNUC__ or __clang_major__")
		}
	}
	out, err = c.ask(ctx, "", "--version")
	if err != nil {
		return err
	}
	line, _, _ := bytes.Cut(out.Stdout, []byte("\n"))
	c.Text = string(line)
	return nil
}

// ask runs the compiler on a question, in English and past ccache.
func (c *Compiler) ask(ctx context.Context, stdin string, args ...string) (*run.Output, error) {
	return run.Run(ctx, run.Cmd{
		Argv:  append(append([]string{}, c.Argv...), args...),
		Env:   append(os.Environ(), "LC_ALL=C", "CCACHE_DISABLE=1"),
		Stdin: strings.NewReader(stdin),
	})
}
