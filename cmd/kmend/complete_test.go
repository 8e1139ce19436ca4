// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"kmend/internal/kerneltest"
)

// complete is what the shell is offered for a command line.
func complete(t *testing.T, args ...string) []string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(context.Background(), append([]string{"__complete"}, args...), &out, &errs); code != 0 {
		t.Fatalf("__complete %q: exit code %d: %s", args, code, errs.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	return lines[:len(lines)-1] // the last one is the directive
}

func TestCompletionOfTheStockKernel(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"impact", "-k", k.Name, "show_vfs"}, []string{"show_vfsmnt", "show_vfsstat"}},
		{[]string{"impact", "-k", k.Name, "other", "show_vfsm"}, []string{"show_vfsmnt"}},
		{[]string{"impact", "-k", k.Name, "vmlinux:show_vfsm"}, []string{"vmlinux:show_vfsmnt"}},
		{[]string{"impact", "-k", k.Name, "ext4:show_vfsm"}, []string{}},
		{[]string{"impact", "-k", k.Name, "ext4:ext4_fill_s"}, []string{"ext4:ext4_fill_super"}},
		{[]string{"impact", "-k", k.Name, "fs/proc_n"}, []string{"fs/proc_namespace.c:"}},
		{[]string{"impact", "-k", k.Name, "fs/proc_namespace.c:show_vfs"}, []string{"fs/proc_namespace.c:show_vfsmnt", "fs/proc_namespace.c:show_vfsstat"}},
		{[]string{"impact", "-k", k.Name, "../../etc/pa"}, []string{}},
		{[]string{"audit", "-k", k.Name, "show_vfsm"}, []string{"show_vfsmnt"}},
		{[]string{"impact", "-k", k.Name, "--color", "al"}, []string{"always"}},
		{[]string{"impact", "-k", "nonsense", "show_vfsm"}, []string{}}, // says why in active help
		{[]string{"help", "kernel", "sh"}, []string{"show\tShow what is known of a kernel"}},
	} {
		got := slices.DeleteFunc(complete(t, c.args...), func(l string) bool {
			return strings.HasPrefix(l, "_activeHelp_") || c.args[len(c.args)-2] == "--color" && !strings.HasPrefix(l, "al")
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
	}
	if got := complete(t, "kernel", "show", ""); !slices.Contains(got, k.Name+"\t"+k.Version) {
		t.Errorf("kernel show: got %q", got)
	}
	if got := complete(t, "impact", "-k", "nonsense", "f"); len(got) != 1 || !strings.Contains(got[0], "has not been added") {
		t.Errorf("a kernel that is not there: got %q", got)
	}
}

// Whatever is typed, the shell is given few lines, each of which begins with
// that, and some function of the kernel begins with each.
func TestCompletionIsNeverCutShort(t *testing.T) {
	k := kerneltest.Open(t)
	list, err := k.Functions(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{"", "_", "__", "s", "tcp", "tcp_", "drm_", "mlx5", "show_vfsmnt", "zz"} {
		got := complete(t, "impact", "-k", k.Name, typed)
		if len(got) > mostOffered {
			t.Errorf("%q: %d lines", typed, len(got))
		}
		bare := map[string]bool{}
		for _, g := range got {
			bare[g] = true
		}
		list.Prefix(typed, "", func(n string) bool {
			for i := len(typed); i <= len(n); i++ {
				if bare[n[:i]] {
					return true
				}
			}
			t.Errorf("%q: nothing that is offered leads to %s", typed, n)
			return false
		})
	}
}

// Every command that takes arguments completes them: by the words of its usage
// line, if by nothing else.
func TestEveryCommandCompletesItsArguments(t *testing.T) {
	a := &app{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		f := c.Flags().Lookup("kernel")
		if f != nil {
			if _, ok := c.GetFlagCompletionFunc("kernel"); !ok {
				t.Errorf("%s does not complete --kernel", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(a))
	for usage, want := range map[string]string{
		"x FUNC…":                       fmt.Sprintf("%p", completeFunctions),
		"x UNIT.c…|FUNCTION…":           fmt.Sprintf("%p", completeFunctions),
		"x [KERNEL]":                    fmt.Sprintf("%p", completeKernels),
		"x [-k KERNEL [UNIT.c]] [-- X]": fmt.Sprintf("%p", completeSources),
		"x MODULE…":                     fmt.Sprintf("%p", completeModules),
		"x FIX.patch…":                  fmt.Sprintf("%p", completePatches),
		"x DIR":                         fmt.Sprintf("%p", completeDirs),
		"x --dumps DIR -o FILE":         fmt.Sprintf("%p", cobra.NoFileCompletions),
		"x":                             fmt.Sprintf("%p", cobra.NoFileCompletions),
	} {
		c := &cobra.Command{Use: usage, Run: func(*cobra.Command, []string) {}}
		completeByUsage(c)
		if got := fmt.Sprintf("%p", c.ValidArgsFunction); got != want {
			t.Errorf("%s: another completion than it should be", usage)
		}
	}
	c := &cobra.Command{Use: "x MODULE.ko", Run: func(*cobra.Command, []string) {}}
	completeByUsage(c)
	if exts, d := c.ValidArgsFunction(c, nil, ""); d != cobra.ShellCompDirectiveFilterFileExt || !slices.Equal(exts, []string{"ko"}) {
		t.Errorf("MODULE.ko: got %q, %v", exts, d)
	}
}

// The shells themselves, on a terminal, with what kmend prints for them.
func TestCompletionInRealShells(t *testing.T) {
	k := kerneltest.Open(t)
	shells := []struct {
		name string
		args []string
		init string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, ". /usr/share/bash-completion/bash_completion; . <(kmend completion bash)"},
		{"zsh", []string{"-f", "-i"}, "autoload -U compinit; compinit -u -D; . <(kmend completion zsh)"},
		{"fish", []string{"--no-config", "-i"}, "kmend completion fish | source"},
	}
	for _, shell := range shells {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := exec.LookPath(shell.name); err != nil {
				kerneltest.Missing(t, "no %s: run scripts/setup", shell.name)
			}
			cmd := exec.Command(shell.name, shell.args...)
			cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+t.TempDir(), "XDG_CACHE_HOME="+cacheHome(t), "PS1=$ ")
			tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 200})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				tty.Close()
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			talk := newDialogue(t, tty)
			talk.send(shell.init + "; printf 'ready%s\\n' ''\r")
			talk.await("ready\r")
			talk.send("kmend impact -k " + k.Name + " show_vfsm\t")
			talk.await("show_vfsmnt")
			talk.send("\x15kmend impact -k " + k.Name + " fs/proc_namespace.c:show_vfss\t")
			talk.await("show_vfsstat")
		})
	}
}

// cacheHome is where the kernels of this user are, for a child that has another
// home directory.
func cacheHome(t *testing.T) string {
	t.Helper()
	if d := os.Getenv("XDG_CACHE_HOME"); d != "" {
		return d
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return home + "/.cache"
}

// dialogue is somebody who types and reads.
type dialogue struct {
	t     *testing.T
	tty   io.ReadWriter
	input chan byte
	seen  strings.Builder
}

func newDialogue(t *testing.T, tty io.ReadWriter) *dialogue {
	d := &dialogue{t: t, tty: tty, input: make(chan byte, 1<<16)}
	go func() {
		defer close(d.input)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			for _, c := range buf[:n] {
				d.input <- c
			}
			if err != nil {
				return
			}
		}
	}()
	return d
}

func (d *dialogue) send(text string) {
	d.t.Helper()
	if _, err := io.WriteString(d.tty, text); err != nil {
		d.t.Fatal(err)
	}
}

// await reads until the text has come.
func (d *dialogue) await(text string) {
	d.t.Helper()
	d.seen.Reset()
	giveUp := time.After(60 * time.Second)
	for !strings.Contains(d.seen.String(), text) {
		select {
		case c, ok := <-d.input:
			if !ok {
				d.t.Fatalf("the shell ended before it showed %q: %q", text, d.seen.String())
			}
			d.seen.WriteByte(c)
		case <-giveUp:
			d.t.Fatalf("%q never came: %q", text, d.seen.String())
		}
	}
}

func TestDidYouMeanFunctionsAndModules(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"impact", "-q", "-k", k.Name, "show_vfsmn"}, "did you mean show_vfsmnt?"},
		{[]string{"impact", "-q", "-k", k.Name, "ext5:ext4_fill_super"}, "has no module ext5; did you mean ext4"},
		{[]string{"audit", "-q", "-k", k.Name, "show_vfsmn"}, "did you mean show_vfsmnt?"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%q: exit code %d, %q", c.args, code, errs.String())
		}
	}
}
