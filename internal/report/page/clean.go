// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is how many bytes of one text of a plan are shown.
const MaxText = 16 << 10

// Clean makes visible what a browser would not show, or would show in another
// order than it is written: control characters, marks of direction (which can
// make code read as what it is not) and bytes that are no UTF-8. Line ends and
// tabs stay. What is longer than limit bytes is cut, and says so.
func Clean(s string, limit int) string {
	rest := 0
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		rest = len(s) - limit
		s = s[:limit]
	}
	if strings.IndexFunc(s, hidden) >= 0 {
		var b strings.Builder
		for i, r := range s {
			switch {
			case r == utf8.RuneError && s[i] != "\uFFFD"[0]:
				fmt.Fprintf(&b, `\x%02x`, s[i])
			case r < 0x80 && hidden(r):
				fmt.Fprintf(&b, `\x%02x`, r)
			case r != utf8.RuneError && hidden(r):
				fmt.Fprintf(&b, `\u%04x`, r)
			default:
				b.WriteRune(r)
			}
		}
		s = b.String()
	}
	if rest > 0 {
		s += fmt.Sprintf(" … (%d more bytes)", rest)
	}
	return s
}

// hidden reports whether a character does not show as itself. Cf are marks of
// direction, joiners and the like.
func hidden(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}

// CleanAll cleans every text that a value points to: fields, elements, keys and
// values of maps of strings. v is a pointer.
func CleanAll(v any) { cleanValue(reflect.ValueOf(v)) }

func cleanValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			cleanValue(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			cleanValue(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			cleanValue(v.Index(i))
		}
	case reflect.Map:
		cleanMap(v)
	case reflect.String:
		if s := v.String(); v.CanSet() {
			v.SetString(Clean(s, MaxText))
		}
	}
}

// cleanMap gives a map clean keys; of keys that become the same one stays.
func cleanMap(v reflect.Value) {
	if v.IsNil() || v.Type().Key().Kind() != reflect.String {
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), v.Len())
	for it := v.MapRange(); it.Next(); {
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(it.Value())
		cleanValue(value)
		out.SetMapIndex(reflect.ValueOf(Clean(it.Key().String(), MaxText)).Convert(v.Type().Key()), value)
	}
	v.Set(out)
}
