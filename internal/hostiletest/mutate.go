// SPDX-License-Identifier: Apache-2.0

package hostiletest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Attack is text that would become markup or move the cursor of a terminal, if
// it came through as it is.
const Attack = `</script></title></style><img src=x onerror="document.body.dataset.pwned=1">'"` + "`" + `--></pre><a href="javascript:1">` + "\u202e\u2066\u009b2J\x00\x1b[2J\x1b]0;owned\x07\r\x7f\xff\u2028"

// Bytes changes, inserts, repeats and removes bytes.
func Bytes(rnd *rand.Rand, seed []byte) []byte {
	d := bytes.Clone(seed)
	for range 1 + rnd.IntN(4) {
		if len(d) == 0 {
			return d
		}
		at := rnd.IntN(len(d))
		n := min(1<<rnd.IntN(8), len(d)-at)
		switch rnd.IntN(6) {
		case 0:
			d[at] ^= 1 << rnd.IntN(8)
		case 1:
			d[at] = byte(rnd.Uint32())
		case 2:
			d = slices.Delete(d, at, at+n)
		case 3:
			d = slices.Insert(d, at, d[at:at+n]...)
		case 4:
			copy(d[rnd.IntN(len(d)):], d[at:at+n])
		case 5:
			d = slices.Insert(d, at, []byte(texts[rnd.IntN(len(texts))])...)
		}
	}
	if rnd.IntN(20) == 0 {
		d = d[:rnd.IntN(len(d)+1)]
	}
	return d
}

// texts are odd texts, as they are in no file that kmend wrote.
var texts = []string{
	"", " ", "\x00", "\n", "\t\v", "-", "/", "..", "../../etc/passwd", "%s%n", "\ufeff", "\ufffd", "e\u0301\u0301\u0301", "\u00ad\u200b\u200d", "\U000e0041", "\U0001F468\u200d\U0001F469",
	"\xc3\x28", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "&lt;b&gt;&#0;", "{{.}}", "]]>", "<!--", "\u202eabc\u202c", "\u009b31m", "\x1b[31m", strings.Repeat("A", 5000), Attack,
}

// numbers are the ends of what numbers can be.
var numbers = []string{"0", "-1", "1", "2", "63", "1e1", "4294967296", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e308", "-1e308", "1e-320", "0.1", "1.0"}

// span is a value of a document, or a member of an object with its name.
type span struct {
	from, to int
	kind     byte // first byte of the value; 'm' for a member, 'e' for an element
}

// JSON is a document that is changed as such, so that most of what comes out is
// one, too.
type JSON struct {
	text  []byte
	spans []span
}

// NewJSON finds the values of a document.
func NewJSON(text []byte) (*JSON, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("read a document to be changed: %w", err)
	}
	j := &JSON{text: compact.Bytes()}
	j.value(0)
	return j, nil
}

// value notes the value at a place of the compact text, and gives its end.
func (j *JSON) value(at int) (end int) {
	open := j.text[at]
	switch end = at + 1; open {
	case '{', '[':
		for j.text[end] != '}' && j.text[end] != ']' {
			if j.text[end] == ',' {
				end++
			}
			from, kind := end, byte('e')
			if open == '{' {
				end, kind = j.skipString(end)+1, 'm'
			}
			end = j.value(end)
			j.spans = append(j.spans, span{from, end, kind})
		}
		end++
	case '"':
		end = j.skipString(at)
	default:
		for end < len(j.text) && !strings.ContainsRune(",]}", rune(j.text[end])) {
			end++
		}
	}
	j.spans = append(j.spans, span{at, end, open})
	return end
}

func (j *JSON) skipString(at int) int {
	for at++; j.text[at] != '"'; at++ {
		if j.text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// Mutate changes some values, and now and then some bytes.
func (j *JSON) Mutate(rnd *rand.Rand) []byte {
	if rnd.IntN(8) == 0 {
		return Bytes(rnd, j.text)
	}
	var picked []span
	for range 1 + rnd.IntN(4) {
		picked = append(picked, j.spans[rnd.IntN(len(j.spans))])
	}
	slices.SortFunc(picked, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out []byte
	at := 0
	for _, s := range picked {
		if s.from < at {
			continue // it is within the one before
		}
		out = append(out, j.text[at:s.from]...)
		at = s.to
		now := j.changed(rnd, s)
		if now == nil { // and the comma with it
			if n := len(out); out[n-1] == ',' {
				out = out[:n-1]
			} else if j.text[at] == ',' {
				at++
			}
		}
		out = append(out, now...)
	}
	out = append(out, j.text[at:]...)
	if rnd.IntN(50) == 0 {
		out = Bytes(rnd, out)
	}
	return out
}

// changed is what becomes of a value, or of a member or element.
func (j *JSON) changed(rnd *rand.Rand, s span) []byte {
	was := j.text[s.from:s.to]
	if s.kind == 'm' || s.kind == 'e' {
		switch rnd.IntN(8) {
		case 0, 1:
			return nil
		case 2: // many of them
			return repeated(was, 1+rnd.IntN(1<<rnd.IntN(11)))
		case 3:
			return bytes.ToUpper(was)
		default: // another one of the same kind: its name need not fit
			return j.like(rnd, s.kind, was)
		}
	}
	switch rnd.IntN(10) {
	case 0:
		return []byte([]string{"null", "true", "[]", "{}", `""`, "0"}[rnd.IntN(6)])
	case 1:
		return slices.Concat([]byte("["), was, []byte("]"))
	case 2:
		return slices.Concat([]byte(`{"name":`), was, []byte("}"))
	case 3: // deep, and now and then deeper than encoding/json goes
		n := 1 << rnd.IntN(15)
		return slices.Concat(bytes.Repeat([]byte("["), n), was, bytes.Repeat([]byte("]"), n))
	}
	switch s.kind {
	case '"':
		return quoted(rnd, string(was[1:len(was)-1]))
	case '{', '[':
		return j.like(rnd, s.kind, was)
	case 't':
		return []byte("false")
	case 'f', 'n':
		return []byte("true")
	}
	return []byte(numbers[rnd.IntN(len(numbers))])
}

// like is another part of the document of the same kind.
func (j *JSON) like(rnd *rand.Rand, kind byte, was []byte) []byte {
	for range 20 {
		if s := j.spans[rnd.IntN(len(j.spans))]; s.kind == kind {
			return j.text[s.from:s.to]
		}
	}
	return was
}

func repeated(was []byte, n int) []byte {
	if n*len(was) > 1<<20 {
		n = 1<<20/len(was) + 1
	}
	return bytes.TrimSuffix(bytes.Repeat(append(bytes.Clone(was), ','), n), []byte(","))
}

// quoted is an odd text as JSON, with or without what was there. Bytes that are
// no UTF-8 stay as they are, and so do, half of the time, those above 0x7f.
func quoted(rnd *rand.Rand, was string) []byte {
	text := texts[rnd.IntN(len(texts))]
	if rnd.IntN(200) == 0 {
		text = strings.Repeat(text+"x", 1<<rnd.IntN(12))
		text = text[:min(len(text), 1<<20)]
	}
	var b bytes.Buffer
	b.WriteByte('"')
	if rnd.IntN(2) == 0 {
		b.WriteString(was)
	}
	ascii := rnd.IntN(2) == 0
	for i, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || ascii && r > 0x7e && r < 0x10000 && r != 0xfffd:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == 0xfffd:
			b.WriteByte(text[i])
		default:
			b.WriteRune(r)
		}
	}
	if rnd.IntN(30) == 0 {
		b.WriteString(`\ud800`)
	}
	b.WriteByte('"')
	return b.Bytes()
}
