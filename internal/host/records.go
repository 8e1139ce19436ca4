// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const loadedDir = "/run/kmend/loaded" // one NAME.json for each module that kmend loaded

// Record is what kmend remembers of a module that it loaded: the kernel keeps
// neither file nor time. It is written before the load and again after it, so a
// killed kmend leaves one that says so.
type Record struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`
	Path    string    `json:"path"`     // the file, as it was given
	SHA256  string    `json:"sha256"`   // of the bytes that were loaded
	BuildID string    `json:"build_id"` // the module's own, "" if it has none
	BootID  string    `json:"boot_id"`  // /proc/sys/kernel/random/boot_id: of which run of the kernel this is true
	Since   time.Time `json:"since"`    // when its load began
	State   string    `json:"state"`    // loading, loaded, unloading
	Turned  time.Time `json:"turned"`   // since when it is in that state
	Forced  bool      `json:"forced,omitempty"`
}

const (
	stateLoading   = "loading"
	stateLoaded    = "loaded"
	stateUnloading = "unloading"
)

func recordPath(name string) string { return loadedDir + "/" + name + ".json" }

func (h *Host) bootID() string {
	return h.readTrimmed("/proc/sys/kernel/random/boot_id", 64)
}

// saveRecord writes the record of a module.
func (h *Host) saveRecord(r *Record) error {
	r.Version, r.BootID, r.Turned = 1, h.bootID(), h.System.Now()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("remember module %s: %w", r.Name, err)
	}
	if err := h.ownDir(loadedDir, 0o755); err != nil {
		return err
	}
	h.step("record " + r.Name + " " + r.State)
	if err := h.writeFile(h.path(recordPath(r.Name)), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("remember module %s: %w", r.Name, err)
	}
	return nil
}

func (h *Host) dropRecord(name string) error {
	h.step("forget " + name)
	err := os.Remove(h.path(recordPath(name)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget module %s: %w", name, err)
	}
	return nil
}

// record reads what is remembered of a module; nil if nothing is, or if it is of
// another boot or of another module of that name. A damaged file is an error.
func (h *Host) record(name string) (*Record, error) {
	info, err := os.Lstat(h.path(recordPath(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var data []byte
	if err == nil && info.Mode().IsRegular() { // a pipe would be waited for
		data, err = h.readBounded(recordPath(name), 64<<10)
	}
	if err != nil {
		return nil, fmt.Errorf("recall module %s: %w", name, err)
	}
	r := parseRecord(data, name)
	if r == nil {
		return nil, fmt.Errorf("recall module %s: %s is damaged: remove it; only the file and time of the load are lost", name, recordPath(name))
	}
	if r.BootID != h.bootID() || !h.moduleLoaded(name) {
		return nil, nil
	}
	if live := h.moduleBuildID(name); live != "" && live != r.BuildID {
		return nil, nil
	}
	return r, nil
}

// parseRecord reads the bytes of a record; nil if they are none of that module.
func parseRecord(data []byte, name string) *Record {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil || r.Name != name || r.Version != 1 || len(r.SHA256) != 64 {
		return nil
	}
	if r.State != stateLoading && r.State != stateLoaded && r.State != stateUnloading {
		return nil
	}
	return &r
}

// tidy removes records of modules that are not there, and unfinished files:
// what a killed kmend leaves. The caller holds the lock.
func (h *Host) tidy() {
	sweep(h.path(loadedDir))
	files, _ := filepath.Glob(h.path(loadedDir) + "/*.json")
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		if r, err := h.record(name); r == nil && err == nil {
			os.Remove(f)
		}
	}
}
