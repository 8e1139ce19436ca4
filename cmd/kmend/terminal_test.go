// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"
)

// slowName is kmend with one more command, "slow", that works until it is
// interrupted.
const slowName = "kmend-slow"

func slowMain() {
	commands = append(commands, func(a *app) *cobra.Command {
		return &cobra.Command{Use: "slow", RunE: func(c *cobra.Command, _ []string) error {
			for i := int64(0); c.Context().Err() == nil; i++ {
				a.Progress.Update("work", i, 1000)
				time.Sleep(10 * time.Millisecond)
			}
			if os.Getenv("KMEND_TEST_STUBBORN") != "" {
				select {}
			}
			return context.Cause(c.Context())
		}}
	})
	os.Args[0] = "kmend"
	main()
}

// slow runs "kmend-slow slow" on a terminal and sends it an interrupt when the
// terminal shows each of the texts; it returns all that was shown.
func slow(t *testing.T, interruptAt ...string) (shown string, code int) {
	t.Helper()
	cmd := exec.Command(slowName, "slow")
	cmd.Env = append(os.Environ(), "TERM=xterm")
	if len(interruptAt) > 1 {
		cmd.Env = append(cmd.Env, "KMEND_TEST_STUBBORN=1")
	}
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	var all strings.Builder
	r := bufio.NewReader(tty)
	for _, text := range interruptAt {
		for seen := all.Len(); !strings.Contains(all.String()[seen:], text); {
			c, err := r.ReadByte()
			if err != nil {
				t.Fatalf("%q never came; shown so far: %q", text, all.String())
			}
			all.WriteByte(c)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	rest, _ := io.ReadAll(r) // EIO when the process is gone
	all.Write(rest)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("got %v", err)
	}
	return all.String(), exit.ExitCode()
}

// An interrupt is told on a line of its own, and no progress is left behind.
func TestInterruptOnATerminal(t *testing.T) {
	shown, code := slow(t, "work 5")
	if code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	// A phase that took a second leaves a line.
	end := regexp.MustCompile(`\r\x1b\[K(work: [0-9.]+ s\r\n)?kmend: context canceled\r\n$`)
	if !strings.Contains(shown, "\r\x1b[Kkmend: interrupted, clearing up") || !end.MatchString(shown) {
		t.Errorf("shown: %q", shown)
	}
	if strings.Contains(shown, "\x1b[?25l") {
		t.Error("the cursor was hidden: who shows it again if kmend is killed?")
	}
}

func TestSecondInterruptClearsTheProgress(t *testing.T) {
	shown, code := slow(t, "work 5", "interrupted")
	if code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	last := shown[strings.LastIndexByte(shown, '\r'):]
	if last != "\r\x1b[K" && last != "\r\n" {
		t.Errorf("the terminal's last line is not empty: %q", shown)
	}
}
