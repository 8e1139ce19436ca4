// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kmend/internal/ui"
	"kmend/internal/vm/agent"
)

func main() {
	if agent.Requested() { // kmend is also the init of the guests it boots
		agent.Main()
	}
	if args, ok := ccArgs(os.Args); ok { // before all else: it runs once for every file of a build
		os.Exit(runCC(args))
	}
	ctx, cancel := context.WithCancel(context.Background())
	go cancelOnSignal(cancel)
	os.Exit(run(ctx, commandArgs(os.Args), os.Stdout, os.Stderr))
}

// cancelOnSignal cancels the work at the first SIGINT or SIGTERM, so that it
// can clear up behind itself, and exits at the second.
func cancelOnSignal(cancel context.CancelFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	ui.Say(os.Stderr, "kmend: interrupted, clearing up (once more to exit at once)")
	cancel()
	<-signals
	ui.Hush() // else the shell's prompt would stand behind the progress
	os.Exit(exitFailed)
}
