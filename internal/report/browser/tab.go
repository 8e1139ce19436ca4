// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Tab is one page. Its methods fail the test when the browser does not do what
// it is told.
type Tab struct {
	c       *Chromium
	t       testing.TB
	session string
	mu      sync.Mutex
	wrong   []string // errors of scripts and of the console, requests
	opened  string
	loaded  chan struct{}
}

// View is how a page is looked at.
type View struct {
	Width, Height int
	Dark          bool
	NoScript      bool
	Print         bool
}

// Open opens a file, and waits until it is loaded.
func (c *Chromium) Open(t testing.TB, file string, v View) *Tab {
	t.Helper()
	tab := &Tab{c: c, t: t, loaded: make(chan struct{}, 1), opened: "file://" + file}
	var target struct {
		ID string `json:"targetId"`
	}
	tab.must("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		Session string `json:"sessionId"`
	}
	tab.must("", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	tab.session = attached.Session
	c.mu.Lock()
	c.tabs[tab.session] = tab
	c.mu.Unlock()
	t.Cleanup(func() { _, _ = c.send("", "Target.closeTarget", map[string]any{"targetId": target.ID}) })
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		tab.Do(domain+".enable", nil, nil)
	}
	tab.Do("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": v.Width < 600}, nil)
	tab.Do("Emulation.setScriptExecutionDisabled", map[string]any{"value": v.NoScript}, nil)
	scheme, media := "light", ""
	if v.Dark {
		scheme = "dark"
	}
	if v.Print {
		media = "print"
	}
	tab.Do("Emulation.setEmulatedMedia", map[string]any{"media": media, "features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
	tab.Do("Page.navigate", map[string]any{"url": tab.opened}, nil)
	select {
	case <-tab.loaded:
	case <-time.After(patience):
		t.Fatalf("%s does not load", file)
	}
	return tab
}

// event notes what must not happen, and that the page is there.
func (tab *Tab) event(m message) {
	note := func(what string) {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.wrong = append(tab.wrong, what+": "+string(m.Params))
	}
	switch m.Method {
	case "Page.loadEventFired":
		select {
		case tab.loaded <- struct{}{}:
		default:
		}
	case "Runtime.exceptionThrown":
		note("exception")
	case "Runtime.consoleAPICalled":
		note("console")
	case "Log.entryAdded":
		note("log")
	case "Network.requestWillBeSent":
		var p struct {
			Request struct {
				URL string `json:"url"`
			} `json:"request"`
		}
		if json.Unmarshal(m.Params, &p) != nil || p.Request.URL != tab.opened {
			note("request")
		}
	}
}

// Wrong is what went wrong in the page so far: exceptions, whatever is on the
// console (violations of the content security policy are), every request but
// the one for the file itself.
func (tab *Tab) Wrong() string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return strings.Join(tab.wrong, "\n")
}

func (tab *Tab) must(session, method string, params, result any) {
	tab.t.Helper()
	raw, err := tab.c.send(session, method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(raw, result)
	}
	if err != nil {
		tab.t.Fatalf("chromium: %v", err)
	}
}

// Do is one command of the protocol.
func (tab *Tab) Do(method string, params, result any) {
	tab.t.Helper()
	tab.must(tab.session, method, params, result)
}

// Eval runs JavaScript, waits for a promise, and decodes its value.
func (tab *Tab) Eval(script string, value any) {
	tab.t.Helper()
	var r struct {
		Result struct {
			Value       json.RawMessage `json:"value"`
			Description string          `json:"description"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	tab.Do("Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &r)
	if r.Exception != nil {
		tab.t.Fatalf("script %s: %s", script, r.Exception)
	}
	if value == nil {
		return
	}
	if err := json.Unmarshal(r.Result.Value, value); err != nil {
		tab.t.Fatalf("script %s: %s: %v", script, r.Result.Value, err)
	}
}

// Text is the text of the first element that a selector finds.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	var s string
	tab.Eval(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector), &s)
	return s
}

// Await waits until the text of the first element that a selector finds has all
// of the words, and fails the test if it does not come to that.
func (tab *Tab) Await(what, selector string, words ...string) {
	tab.t.Helper()
	text := ""
	for end := time.Now().Add(patience / 6); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text = tab.Text(selector)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
	}
	tab.t.Errorf("%s: not all of %q in %q", what, words, text)
}

// Type types text into what has the focus.
func (tab *Tab) Type(text string) {
	tab.t.Helper()
	tab.Do("Input.insertText", map[string]any{"text": text}, nil)
}

// keyCodes are the codes that Windows gives keys, which the protocol takes.
var keyCodes = map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40, "Home": 36, "End": 35}

// Press presses a key by its name (KeyboardEvent.key).
func (tab *Tab) Press(key string) {
	tab.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": keyCodes[key]}
		if key == "Enter" && kind == "keyDown" {
			p["text"] = "\r"
		}
		tab.Do("Input.dispatchKeyEvent", p, nil)
	}
}

// Click clicks into the middle of an element.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	var at *struct{ X, Y float64 }
	tab.Eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); if (!e) return null; e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2}; })()`, selector), &at)
	if at == nil {
		tab.t.Fatalf("click: there is no %s", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		tab.Do("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// Screenshot writes a picture of what is seen, or of the whole page, as PNG into
// the directory that $KMEND_TEST_SCREENSHOTS names, for people. Without that it does
// nothing.
func (tab *Tab) Screenshot(name string, whole bool) {
	tab.t.Helper()
	dir := os.Getenv("KMEND_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	var r struct {
		Data string `json:"data"`
	}
	tab.Do("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	}
	if err != nil {
		tab.t.Fatal(err)
	}
}
