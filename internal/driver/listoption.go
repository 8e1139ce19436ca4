// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// List is what -flive-patch-list asks for. The option is written
//
//	-flive-patch-list={FUNC|all}[,facts][,json][,FILE]
//
// and may be given more than once: the functions add up.
type List struct {
	All   bool
	Funcs []string // in the order given
	Facts bool     // with the facts that passes used
	JSON  bool     // also by the name of the file
	File  string   // "" for standard output; with a / at its end, or if it is one: a directory of lists
}

var functionName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_.$]*$`)

// addList takes one -flive-patch-list.
func (c *Command) addList(value string) error {
	if c.List == nil {
		c.List = &List{}
	}
	l := c.List
	items := strings.Split(value, ",")
	switch name := items[0]; {
	case name == "all":
		l.All = true
	case !functionName.MatchString(name):
		return usagef("%s=%s: %q is no name of a function; it is written %s={FUNC|all}[,facts][,json][,FILE]", listOption, value, name, listOption)
	case !slices.Contains(l.Funcs, name):
		l.Funcs = append(l.Funcs, name)
	}
	items = items[1:]
	for len(items) > 0 && (items[0] == "facts" || items[0] == "json") {
		l.Facts = l.Facts || items[0] == "facts"
		l.JSON = l.JSON || items[0] == "json"
		items = items[1:]
	}
	if len(items) == 0 {
		return nil
	}
	file := strings.Join(items, ",") // a comma may be part of a file name
	switch {
	case file == "":
		return usagef("%s=%s: no file after the comma", listOption, value)
	case file == "-":
		file = ""
	}
	if l.File != "" && l.File != file {
		return usagef("%s=%s: an earlier %s names the file %s; one list goes to one file", listOption, value, listOption, l.File)
	}
	l.File = file
	if filepath.Ext(file) == ".json" {
		l.JSON = true
	}
	return nil
}

// isDir reports whether there is to be one list per object.
func (l *List) isDir() bool {
	if strings.HasSuffix(l.File, "/") {
		return true
	}
	st, err := os.Stat(l.File)
	return err == nil && st.IsDir()
}

// place is the file for the list of an object: below the directory if one is
// named, else the file itself. An object outside the working directory has its
// absolute path below the directory, so that two never meet.
func (l *List) place(object string) string {
	if l.File == "" || !l.isDir() {
		return l.File
	}
	object = filepath.Clean(object)
	if !filepath.IsLocal(object) {
		if abs, err := filepath.Abs(object); err == nil {
			object = abs
		}
	}
	ext := ".txt"
	if l.JSON {
		ext = ".json"
	}
	return filepath.Join(l.File, object+ext)
}
