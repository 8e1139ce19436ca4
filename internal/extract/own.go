// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"bytes"
	"strings"

	"kmend/internal/ctext"
)

// stays tells the parts of a document that are the unit's own text from those
// that an #include brings.
type stays struct {
	doc *ctext.Document
	own []bool // by stay in a file
	// top is for a stay that is not own the one nearest the own text: that of the
	// #include to be kept.
	top []int
}

func newStays(q *Request) *stays {
	doc := q.Text.Doc
	s := &stays{doc: doc, own: make([]bool, len(doc.Includes)), top: make([]int, len(doc.Includes))}
	for i, in := range doc.Includes {
		name := doc.Files[in.File]
		inside := in.Parent < 0 || s.own[in.Parent]
		switch {
		case in.Parent < 0 && !in.Forced:
			s.own[i] = true
		case in.Forced, !inside:
		case strings.HasSuffix(name, ".c"):
			s.own[i] = true
		default:
			s.own[i] = q.SelfContained && !q.Public(name)
		}
		s.top[i] = i
		if in.Parent >= 0 && !s.own[in.Parent] {
			s.top[i] = s.top[in.Parent]
		}
	}
	return s
}

// isOwn reports whether the text at an offset is the unit's own.
func (s *stays) isOwn(off int32) bool {
	i := s.doc.IncludeAt(off)
	return i >= 0 && s.own[i]
}

// includeOf is the #include that brings the text at an offset, or -1 if it is
// the unit's own or always there.
func (s *stays) includeOf(off int32) int {
	i := s.doc.IncludeAt(off)
	if i < 0 || s.own[i] {
		return -1
	}
	i = s.top[i]
	if in := s.doc.Includes[i]; in.Forced || in.Parent < 0 {
		return -1
	}
	return i
}

// includeLine is the text of the directive, as it stands in the file.
func (s *stays) includeLine(read func(string) []byte, i int) string {
	in := s.doc.Includes[i]
	data := read(s.doc.Files[s.doc.Includes[in.Parent].File])
	for line := 1; len(data) > 0; line++ {
		text, rest, _ := bytes.Cut(data, []byte("\n"))
		if line == in.Line {
			return strings.TrimSpace(string(text))
		}
		data = rest
	}
	return ""
}

// mentioned reports whether one of the files of a stay, those it includes in
// turn among them, has the word in its text.
func (s *stays) mentioned(read func(string) []byte, i int, word string) bool {
	in := s.doc.Includes[i]
	seen := map[int]bool{}
	for j := i; j < len(s.doc.Includes) && s.doc.Includes[j].From < in.To; j++ {
		f := s.doc.Includes[j].File
		if seen[f] || s.own[j] {
			continue
		}
		seen[f] = true
		if hasWord(read(s.doc.Files[f]), word) {
			return true
		}
	}
	return false
}

func hasWord(text []byte, word string) bool {
	for len(text) > 0 {
		i := bytes.Index(text, []byte(word))
		if i < 0 {
			return false
		}
		end := i + len(word)
		if (i == 0 || !wordByte(text[i-1])) && (end == len(text) || !wordByte(text[end])) {
			return true
		}
		text = text[end:]
	}
	return false
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
