// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// installDir holds a directory for each build of a kernel, named by its build
// id: NAME.ko for each module, and the state file.
const (
	installDir  = "/var/lib/kmend"
	stateFile   = "state.json"
	maxState    = 1 << 20
	moduleLimit = 1000 // modules for one kernel
)

// Installation is all that is installed to be loaded at boot.
type Installation struct {
	Version int              `json:"version"`
	Builds  []InstalledBuild `json:"builds"` // by build id; one may have no modules any more
}

// Count is the number of modules.
func (i *Installation) Count() (n int) {
	for _, b := range i.Builds {
		n += len(b.Modules)
	}
	return n
}

// InstalledBuild is what is installed for one build of a kernel. It is the state
// file, too.
type InstalledBuild struct {
	Version int               `json:"version"`
	BuildID string            `json:"kernel_build_id"`
	Running bool              `json:"running,omitempty"` // not in the file
	Modules []InstalledModule `json:"modules"`           // in the order in which they are loaded
	Notes   []string          `json:"notes,omitempty"`   // not in the file
}

// InstalledModule is one module that is installed.
type InstalledModule struct {
	Name      string    `json:"name"`
	SHA256    string    `json:"sha256"`
	Release   string    `json:"release"` // of the kernel, by the module's vermagic
	From      string    `json:"from"`    // the file that was installed
	Installed time.Time `json:"installed"`
	// Pending is what was begun and not seen to its end: installing, removing.
	Pending  string `json:"pending,omitempty"`
	Previous string `json:"previous,omitempty"` // installing: digest of the file that is replaced
	Trouble  string `json:"trouble,omitempty"`  // not in the file: why it will not be loaded

	data *Module
}

const (
	installing = "installing"
	removing   = "removing"
)

// Installed reads what is installed, and looks whether it is whole.
func (h *Host) Installed() (*Installation, error) {
	all := &Installation{Version: 1, Builds: []InstalledBuild{}}
	dirs, err := os.ReadDir(h.path(installDir))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what is installed: %w", err)
	}
	running, err := h.runningBuildID()
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		if !d.IsDir() || !isBuildID(d.Name()) {
			continue
		}
		b, err := h.installedFor(d.Name())
		if err != nil {
			return nil, err
		}
		b.Running = d.Name() == running
		all.Builds = append(all.Builds, *b)
	}
	return all, nil
}

// isBuildID: hex, as a directory's name. A build id has 20 bytes as a rule.
func isBuildID(s string) bool {
	return len(s) >= 8 && len(s) <= 128 && strings.Trim(s, "0123456789abcdef") == ""
}

// installedFor reads what is installed for one build: the state file, held
// against the modules that are there. Where there is no good state file, the
// modules speak for themselves.
func (h *Host) installedFor(id string) (*InstalledBuild, error) {
	dir := installDir + "/" + id
	files, err := h.modulesIn(dir)
	if err != nil {
		return nil, err
	}
	b, why := h.readState(id)
	if b == nil {
		b = &InstalledBuild{Version: 1, BuildID: id, Modules: []InstalledModule{}}
		if len(files) == 0 && why == nil {
			return b, nil
		}
		if why == nil {
			why = errors.New("it is not there")
		}
		b.Notes = append(b.Notes, fmt.Sprintf("%s/%s cannot be used (%v): the modules were read from the directory; install one again to write it anew", dir, stateFile, why))
		for _, name := range files {
			b.Modules = append(b.Modules, h.rediscover(dir, name, id))
		}
		return b, nil
	}
	b.Modules = slices.DeleteFunc(b.Modules, func(m InstalledModule) bool {
		files = slices.DeleteFunc(files, func(name string) bool { return name == m.Name })
		// Not finished: a removal counts as done, an installation as not done
		// unless its file is there.
		return m.Pending == removing || m.Pending == installing && m.Previous == "" && !h.exists(dir+"/"+m.Name+".ko")
	})
	for i := range b.Modules {
		h.examine(dir, id, &b.Modules[i])
	}
	for _, name := range files {
		b.Notes = append(b.Notes, fmt.Sprintf("%s/%s.ko was not put there by kmend install: it is not loaded", dir, name))
	}
	return b, nil
}

// modulesIn lists the modules in a directory by name.
func (h *Host) modulesIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(h.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list what is installed: %w", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".ko"); ok && plainName(name) != "" && len(names) < moduleLimit {
			names = append(names, name)
		}
	}
	return names, nil
}

func (h *Host) exists(path string) bool {
	_, err := os.Lstat(h.path(path))
	return err == nil
}

// readState reads a state file; nil, nil if there is none.
func (h *Host) readState(id string) (*InstalledBuild, error) {
	path := installDir + "/" + id + "/" + stateFile
	if !h.exists(path) {
		return nil, nil
	}
	data, err := h.readTrusted(path)
	if err != nil {
		return nil, err
	}
	return parseState(data, id)
}

// parseState reads the bytes of a state file and refuses what kmend did not write.
func parseState(data []byte, id string) (*InstalledBuild, error) {
	if len(data) > maxState {
		return nil, fmt.Errorf("it has %d bytes", len(data))
	}
	var b InstalledBuild
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if b.Version != 1 || b.BuildID != id || len(b.Modules) > moduleLimit {
		return nil, fmt.Errorf("it is of version %d, for the build %.60q, with %d modules", b.Version, b.BuildID, len(b.Modules))
	}
	seen := map[string]bool{}
	for i := range b.Modules {
		m := &b.Modules[i]
		if plainName(m.Name) == "" || seen[m.Name] || len(m.SHA256) != 64 || m.Pending != "" && m.Pending != installing && m.Pending != removing {
			return nil, fmt.Errorf("its entry %d is damaged", i+1)
		}
		seen[m.Name], m.Trouble = true, ""
	}
	b.Running, b.Notes = false, nil
	return &b, nil
}

// examine reads an installed module and looks whether it is the one that was
// installed. An installation that was broken off is as good before as after.
func (h *Host) examine(dir, id string, m *InstalledModule) {
	file := dir + "/" + m.Name + ".ko"
	data, err := h.readTrusted(file)
	if err != nil {
		m.Trouble = err.Error()
		return
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	switch {
	case digest == m.SHA256:
	case m.Pending == installing && digest == m.Previous:
		m.SHA256 = m.Previous
	default:
		m.Trouble = fmt.Sprintf("%s is not what was installed (its digest is %.12s…, not %.12s…): install it again", file, digest, m.SHA256)
		return
	}
	if m.data, err = parseModule(file, data); err != nil {
		m.Trouble = err.Error()
	} else if m.data.Name != m.Name {
		m.Trouble = fmt.Sprintf("%s is module %s", file, m.data.Name)
	} else {
		m.data.checkedFor = id
	}
}

// rediscover is examine without a state file: the module must say that it is for
// this build of the kernel.
func (h *Host) rediscover(dir, name, id string) InstalledModule {
	m := InstalledModule{Name: name}
	file := dir + "/" + name + ".ko"
	m.From = file
	if info, err := os.Stat(h.path(file)); err == nil {
		m.Installed = info.ModTime()
	}
	var err error
	if m.data, err = h.ReadModule(file); err != nil {
		m.Trouble = err.Error()
		return m
	}
	m.SHA256, m.Release = m.data.SHA256, m.data.Release
	switch {
	case m.data.Name != name:
		m.Trouble = fmt.Sprintf("%s is module %s", file, m.data.Name)
	case m.data.KernelID != "" && m.data.KernelID != id:
		m.Trouble = fmt.Sprintf("%s is for another build of the kernel, %.60s", file, m.data.KernelID)
	}
	return m
}

// saveState writes a state file.
func (h *Host) saveState(b *InstalledBuild) error {
	file := *b
	file.Version, file.Running, file.Notes = 1, false, nil
	// Without a digest it could not be read: it is none of ours, or damaged.
	file.Modules = slices.DeleteFunc(slices.Clone(b.Modules), func(m InstalledModule) bool { return len(m.SHA256) != 64 })
	for i := range file.Modules {
		file.Modules[i].Trouble = ""
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return fmt.Errorf("write the list of what is installed: %w", err)
	}
	h.step("state of " + b.BuildID)
	if err := h.writeFile(h.path(installDir, b.BuildID, stateFile), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the list of what is installed: %w", err)
	}
	return nil
}

func (h *Host) installedPath(id, name string) string {
	return h.path(filepath.Join(installDir, id, name+".ko"))
}
