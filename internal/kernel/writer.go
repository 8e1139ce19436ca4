// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"io"
	"sync"
)

// syncWriter lets several commands share a log.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// lineCounter reports how many lines went through it.
type lineCounter struct {
	w     io.Writer
	n     int64
	lines func(n int64)
}

func (l *lineCounter) Write(p []byte) (int, error) {
	if n := int64(bytes.Count(p, []byte{'\n'})); n > 0 {
		l.n += n
		l.lines(l.n)
	}
	return l.w.Write(p)
}

// countingReader reports how many bytes went through it.
type countingReader struct {
	r     io.Reader
	n     int64
	bytes func(n int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.bytes(c.n)
	return n, err
}
