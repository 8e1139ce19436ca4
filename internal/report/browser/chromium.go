// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"kmend/internal/kerneltest"
)

// patience is how long one answer may take: a hang fails the test.
const patience = 3 * time.Minute

// Chromium is a running browser.
type Chromium struct {
	t      testing.TB
	in     *os.File
	mu     sync.Mutex
	last   int
	wait   map[int]chan message
	tabs   map[string]*Tab // by session
	closed chan struct{}
}

// message is one of the protocol, of either direction.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *failure        `json:"error,omitempty"`
}

type failure struct {
	Message string `json:"message"`
}

// Start starts Chromium for a test. Without one the test is skipped, or fails
// where tests must not be skipped.
func Start(t testing.TB) *Chromium {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		kerneltest.Missing(t, "%v (install it with: scripts/setup)", err)
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "kmend-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-ipc-flooding-protection",
		"--hide-scrollbars", "--no-zygote", "--in-process-gpu", "--renderer-process-limit=1", "--force-color-profile=srgb", "--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{inR, outW}
	cmd.Env = append(os.Environ(), "HOME="+profile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its helpers end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	c := &Chromium{t: t, in: inW, wait: map[int]chan message{}, tabs: map[string]*Tab{}, closed: make(chan struct{})}
	go c.read(outR)
	t.Cleanup(func() {
		// The browser may end without an answer, and its helpers may outlive it
		// for a moment with their end of the pipe open.
		_ = c.write(message{ID: -1, Method: "Browser.close", Params: []byte("{}")})
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		inW.Close()
		outR.Close()
		<-c.closed
		_ = os.RemoveAll(profile)
	})
	return c
}

// read hands out answers and events until the browser ends.
func (c *Chromium) read(out *os.File) {
	defer close(c.closed)
	s := bufio.NewScanner(out)
	s.Buffer(nil, 256<<20)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, 0); i >= 0 {
			return i + 1, data[:i], nil
		}
		return 0, nil, nil
	})
	for s.Scan() {
		var m message
		if json.Unmarshal(s.Bytes(), &m) != nil {
			continue
		}
		c.mu.Lock()
		answer, tab := c.wait[m.ID], c.tabs[m.Session]
		delete(c.wait, m.ID)
		c.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil:
			answer <- m
		case m.ID == 0 && tab != nil:
			tab.event(m)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, answer := range c.wait {
		answer <- message{ID: id, Error: &failure{"the browser ended"}}
	}
	c.wait = map[int]chan message{}
}

// write sends a message.
func (c *Chromium) write(m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.in.Write(append(data, 0))
	return err
}

// send sends a command and waits for its answer.
func (c *Chromium) send(session, method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if params == nil {
		raw = []byte("{}")
	}
	answer := make(chan message, 1)
	c.mu.Lock()
	c.last++
	m := message{ID: c.last, Session: session, Method: method, Params: raw}
	c.wait[m.ID] = answer
	c.mu.Unlock()
	if err := c.write(m); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}
