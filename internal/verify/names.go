// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"strconv"
	"strings"
)

// relaObject returns the object of a .klp.rela section's name, parsed as the
// kernel does with ".klp.rela.%55[^.]" but without its leniency: an object name
// that the kernel would cut is an error.
func relaObject(name string) (string, error) {
	rest, ok := strings.CutPrefix(name, klpRelaPrefix)
	obj, _, dot := strings.Cut(rest, ".")
	if !ok || !dot || obj == "" || len(obj) > maxObjectName {
		return "", fmt.Errorf("%.200q does not have the form .klp.rela.OBJECT.SECTION with an object of 1 to %d characters", name, maxObjectName)
	}
	return obj, nil
}

// parseKlpSymbol parses ".klp.sym.OBJECT.NAME,POSITION" as the kernel does
// with ".klp.sym.%55[^.].%511[^,],%lu", but refuses what that would cut or
// ignore.
func parseKlpSymbol(name string) (KlpSymbol, error) {
	bad := func(why string) (KlpSymbol, error) {
		return KlpSymbol{}, fmt.Errorf("%.200q does not have the form .klp.sym.OBJECT.NAME,POSITION: %s", name, why)
	}
	rest, ok := strings.CutPrefix(name, klpSymPrefix)
	if !ok {
		return bad("it begins otherwise")
	}
	obj, rest, ok := strings.Cut(rest, ".")
	if !ok || obj == "" || len(obj) > maxObjectName {
		return bad(fmt.Sprintf("the object has to have 1 to %d characters", maxObjectName))
	}
	sym, pos, ok := strings.Cut(rest, ",")
	if !ok || sym == "" || len(sym) > maxSymbolName {
		return bad(fmt.Sprintf("the symbol has to have 1 to %d characters", maxSymbolName))
	}
	n, err := strconv.ParseUint(pos, 10, 31)
	if err != nil || pos != strconv.FormatUint(n, 10) {
		return bad("the position is no plain number")
	}
	return KlpSymbol{Object: obj, Name: sym, Sympos: int(n)}, nil
}

// hiddenName reports whether the kernel's lookup by address passes over a
// symbol (kernel/module/kallsyms.c, find_kallsyms_symbol).
func hiddenName(s string) bool {
	if s == "" || strings.HasPrefix(s, ".L") {
		return true
	}
	return len(s) >= 2 && s[0] == '$' && strings.ContainsRune("axtd", rune(s[1])) && (len(s) == 2 || s[2] == '.')
}
