// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newManCmd is hidden: it is for those who install kmend.
func newManCmd(a *app) *cobra.Command {
	var dir, date string
	c := &cobra.Command{
		Use:   "man [-o DIR] [COMMAND]",
		Short: "Print the manual page of a command",
		Long: `man prints the manual page of a command, in the language of man(7), or with -o
writes those of all commands into a directory, one file a command.`,
		Example: `  kmend man build | man -l -
  kmend man -o /usr/local/share/man/man1`,
		Hidden: true,
		RunE: func(c *cobra.Command, args []string) error {
			if date == "" {
				date = time.Now().UTC().Format(time.DateOnly)
			} else if _, err := time.Parse(time.DateOnly, date); err != nil {
				return usageErrorf("--date %s: want YYYY-MM-DD", date)
			}
			root := c.Root()
			if dir != "" {
				if len(args) > 0 {
					return usageErrorf("-o is for the pages of all commands: name none")
				}
				return a.writeManPages(root, dir, date)
			}
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usageErrorf("no command %q", strings.Join(args, " "))
			}
			_, err = a.Out.Write(manPage(about, date).Bytes())
			return err
		},
	}
	c.Flags().StringVarP(&dir, "output", "o", "", "write the pages of all commands into this directory")
	c.Flags().StringVar(&date, "date", "", "date of the pages (default: today)")
	_ = c.MarkFlagDirname("output")
	return c
}

func (a *app) writeManPages(root *cobra.Command, dir, date string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write manual pages: %w", err)
	}
	for _, c := range documented(root) {
		p := manPage(c, date)
		if err := writeWhole(filepath.Join(dir, p.Name+".1"), p.Bytes()); err != nil {
			return fmt.Errorf("write manual pages: %w", err)
		}
	}
	return nil
}

// documented are the commands of a tree that a user can see, c first.
func documented(c *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			out = append(out, documented(sub)...)
		}
	}
	return out
}
