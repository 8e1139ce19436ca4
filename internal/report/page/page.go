// SPDX-License-Identifier: Apache-2.0

package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
)

//go:embed style.css
var style string

//go:embed hover.js
var hover string

// Document is one page.
type Document struct {
	Title   string
	Main    template.HTML // from templates of Templates, which escape
	Scripts []string      // beside the one that shows the numbers of charts
	Data    []Data
}

// Data is a block of text that a script reads by its ID. It is not run.
type Data struct {
	ID   string
	Text string // without "<", as base64 and encoding/json have it
}

// frame has all that pages share. Styles and scripts are put in as they are:
// they are files of this program.
var frame = template.Must(template.New("frame").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{.Policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{{.Title}}</title>
{{.Style}}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
{{.Main}}
{{range .Blocks}}{{.}}
{{end}}</body>
</html>
`))

// Write writes a document. Text of a Data that could end its element is an error.
func Write(w io.Writer, d Document) error {
	var blocks []template.HTML
	for _, data := range d.Data {
		for i := range len(data.Text) {
			if data.Text[i] == '<' {
				return fmt.Errorf("write the page: the data %s has a %q at %d, which could end its element", data.ID, '<', i)
			}
		}
		blocks = append(blocks, template.HTML(`<script type="text/plain" id="`+template.HTMLEscapeString(data.ID)+`">`+data.Text+`</script>`))
	}
	policy := "default-src 'none'; base-uri 'none'; form-action 'none'; style-src " + digest(style) + "; script-src"
	for _, s := range append([]string{hover}, d.Scripts...) {
		policy += " " + digest(s)
		blocks = append(blocks, template.HTML("<script>"+s+"</script>"))
	}
	err := frame.Execute(w, map[string]any{
		"Policy": policy, "Title": d.Title, "Style": template.HTML("<style>" + style + "</style>"), "Main": d.Main, "Blocks": blocks,
	})
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// digest names an inline style or script in a policy (CSP level 2, hash-source).
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
