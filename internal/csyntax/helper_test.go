// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"testing"

	"kmend/internal/ctext"
)

// lex makes tokens of a text that has no macros and no directives but line
// markers.
func lex(t testing.TB, text []byte) (*ctext.Names, []ctext.Token) {
	t.Helper()
	names, tokens, err := tryLex(text)
	if err != nil {
		t.Fatal(err)
	}
	return names, tokens
}

func tryLex(text []byte) (*ctext.Names, []ctext.Token, error) {
	names := ctext.NewNames()
	var tokens []ctext.Token
	for from := 0; from < len(text); {
		to := from // a stretch without line markers
		for to < len(text) && text[to] != '#' {
			for to < len(text) && text[to] != '\n' {
				to++
			}
			if to < len(text) {
				to++
			}
		}
		l := &ctext.Lexer{Text: text, Pos: from, End: to, Names: names}
		for {
			tok, ok, err := l.Next()
			if err != nil {
				return nil, nil, err
			}
			if !ok {
				break
			}
			tokens = append(tokens, tok)
		}
		for to < len(text) && text[to] != '\n' {
			to++
		}
		from = to + 1
	}
	return names, tokens, nil
}

func parseText(t testing.TB, text string) *Unit {
	t.Helper()
	names, tokens := lex(t, []byte(text))
	u, err := Parse(names, tokens)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return u
}
