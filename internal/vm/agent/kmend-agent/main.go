// SPDX-License-Identifier: Apache-2.0

// Command kmend-agent is the agent alone. Tests put it into guests; the kmend
// program carries the same agent in itself and needs no second file.
package main

import (
	"fmt"
	"os"

	"kmend/internal/vm/agent"
)

func main() {
	if agent.Requested() {
		agent.Main()
	}
	fmt.Fprintln(os.Stderr, "kmend-agent: this is the init process of kmend's test guests; it does nothing elsewhere")
	os.Exit(2)
}
