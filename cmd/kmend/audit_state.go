// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"kmend/internal/oracle"
)

// auditLine is one line of the file that keeps an audit's results.
type auditLine struct {
	Key    string         `json:"key"` // of what decides the result: see auditState.key
	Report *oracle.Report `json:"report"`
}

// auditState keeps results unit by unit, so that an interrupted audit goes on.
// Without a file it keeps nothing.
type auditState struct {
	mu   sync.Mutex
	file *os.File
	self string // digest of this program: another one may come to other results
	have map[string]*oracle.Report
}

const maxAuditLine = 256 << 20

func openAuditState(path string) (*auditState, error) {
	s := &auditState{have: map[string]*oracle.Report{}}
	if path == "" {
		return s, nil
	}
	var err error
	if s.self, err = selfDigest(); err != nil {
		return nil, err
	}
	if err := s.read(path); err != nil {
		return nil, fmt.Errorf("read kept results: %w", err)
	}
	if s.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("keep results: %w", err)
	}
	// A last line that was cut off must not swallow the first new one.
	if _, err := s.file.WriteString("\n"); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("keep results: %w", err)
	}
	return s, nil
}

// read takes the lines that are whole.
func (s *auditState) read(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxAuditLine)
	for sc.Scan() {
		var l auditLine
		if json.Unmarshal(sc.Bytes(), &l) == nil && l.Report != nil && (l.Report.Failed != "" || l.Report.Narrowed != nil) {
			s.have[l.Key] = l.Report
		}
	}
	return sc.Err()
}

// key names what decides a result.
func (s *auditState) key(kernel, level, source string, names []string, disassembly bool) string {
	all := append([]string{s.self, kernel, level, source, fmt.Sprint(disassembly, names == nil)}, names...)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(all, "\x00"))))
}

func (s *auditState) get(key string) *oracle.Report { return s.have[key] }

func (s *auditState) put(key string, r *oracle.Report) error {
	if s.file == nil {
		return nil
	}
	data, err := json.Marshal(auditLine{key, r})
	if err != nil {
		return fmt.Errorf("keep a result: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.file.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("keep a result: %w", err)
	}
	return nil
}

// Close ends writing.
func (s *auditState) Close() {
	if s.file != nil {
		s.file.Close()
	}
}
